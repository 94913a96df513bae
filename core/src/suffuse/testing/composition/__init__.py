"""The composition matrix: installed parts that say they go together, run on worlds whose truth is known."""
