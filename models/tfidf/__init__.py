"""The `tfidf` base kind: ridge regression on TF-IDF differences of hashed n-grams."""
