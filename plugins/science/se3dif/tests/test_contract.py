from suffuse.testing import contract_suite

test_contract = contract_suite("se3dif")
