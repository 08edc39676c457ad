"""The gateway documents itself: an OpenAPI document and a page made from it, in two languages."""
