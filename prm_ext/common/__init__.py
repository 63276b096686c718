"""What the features of the product share: problem details, the context of a request, paging."""
