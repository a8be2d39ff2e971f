"""The one room that downloads: weights of priors and of metrics' networks, from their publishers into the cache."""
