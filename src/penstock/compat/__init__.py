"""Other systems' spellings, for hands that know them."""
