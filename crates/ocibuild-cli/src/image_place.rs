//! Images that are there already, by the names users give them.
