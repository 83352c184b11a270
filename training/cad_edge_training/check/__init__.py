"""What is wrong with the images of a product, found before anything is learned from them."""
