"""Networks over what a user had before: SASRec, BERT4Rec, HSTU."""
