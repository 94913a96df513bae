"""The conformance kit: exact ground truth, honest statistics and the suites that plugins inherit."""
