"""What a lowered network is: dtypes, nodes, shape rules, bit layout and files (numpy only)."""
