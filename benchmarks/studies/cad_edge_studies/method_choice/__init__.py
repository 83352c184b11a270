"""Whether the method that good parts alone choose for a product is the right one."""
