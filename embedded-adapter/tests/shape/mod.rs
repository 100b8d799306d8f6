//! The shape of a flash, passed on by a double that wraps it.

/// Implements [`DeviceMedium`](coldpress_embedded::flash::DeviceMedium) for a type: the shape is that of its field `flash`.
macro_rules! shape_of_flash {
    ($medium:ty) => {
        impl coldpress_embedded::flash::DeviceMedium for $medium {
            fn write_unit_bytes(&self) -> u32 {
                self.flash.write_unit_bytes()
            }
            fn erase_unit_bytes(&self) -> u32 {
                self.flash.erase_unit_bytes()
            }
            fn medium_bytes(&self) -> u64 {
                self.flash.medium_bytes()
            }
        }
    };
}
