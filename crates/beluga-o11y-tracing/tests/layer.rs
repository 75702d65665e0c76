//! What the layer makes of spans, whoever made them.
