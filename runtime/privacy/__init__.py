"""What protects the people in view: nothing kept unless asked, and a notice that tells them."""
