"""The page: all results in one static folder that opens in a browser from the file system."""
