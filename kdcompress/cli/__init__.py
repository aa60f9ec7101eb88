"""The command line: parse, one library call, render. No heavy import at module level."""
