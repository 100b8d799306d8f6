//! The shape of a flash, as a double that wraps one passes it on.

/// Makes the methods of [`Medium`](coldpress_embedded::flash::Medium) that tell the shape: those of the field `flash`.
macro_rules! shape_of_flash {
    () => {
        fn write_unit_bytes(&self) -> u32 {
            self.flash.write_unit_bytes()
        }
        fn erase_unit_bytes(&self) -> u32 {
            self.flash.erase_unit_bytes()
        }
        fn medium_bytes(&self) -> u64 {
            self.flash.medium_bytes()
        }
    };
}
