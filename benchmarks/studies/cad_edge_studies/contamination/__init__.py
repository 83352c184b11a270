"""What defective parts among the good ones cost."""
