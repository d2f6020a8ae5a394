"""What is shown of a micrograph: display pictures, pictures of other programs, optics and defocus."""
