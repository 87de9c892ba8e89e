"""The submission table, its checks and its manifest."""
