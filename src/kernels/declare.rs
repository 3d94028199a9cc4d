//! The macros that declare kernels and their parameters.

/// Declares a kernel: a struct whose field names are the names of the WGSL variables, each with the number of its binding.
macro_rules! kernel {
    ($(#[$doc:meta])* $kernel:ident = $name:literal in $file:literal, $source:expr;
     params $params:ty; sections [$($section:ident),*]; $(site $site:ident $(: $site_type:ty)?;)? $(sides $sides:ident: $sides_type:ty;)?
     read [$($read:ident: $read_at:literal),*]; $(textures [$($texture:ident: $texture_at:literal),*];)?
     write [$($write:ident: $write_at:literal),*] $(; variants $variants:expr)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        #[expect(missing_docs, reason = "each field is a binding that the shader's header describes")]
        pub struct $kernel {
            pub params: $params,
            $(pub $site: $crate::kernels::first_type!($($site_type,)? usize),)?
            $(pub $sides: $sides_type,)?
            $(pub $read: $crate::memory::Tensor,)*
            $($(pub $texture: $crate::memory::Tensor,)*)?
            $(pub $write: $crate::memory::Tensor,)*
        }

        impl $kernel {
            /// The entry point.
            pub const ENTRY: $crate::kernels::Entry = $crate::kernels::Entry {
                name: $name,
                file: $file,
                source: $source,
                params: (size_of::<$params>(), <$params>::FIELDS),
                sections: &[$(stringify!($section)),*],
                tensors: &[
                    $($crate::kernels::Binding { name: stringify!($read), number: $read_at, access: $crate::kernels::Access::Read },)*
                    $($($crate::kernels::Binding { name: stringify!($texture), number: $texture_at, access: $crate::kernels::Access::Texture },)*)?
                    $($crate::kernels::Binding { name: stringify!($write), number: $write_at, access: $crate::kernels::Access::Write },)*
                ],
                variants: $crate::kernels::first!($($variants,)? || vec![Vec::new()]),
            };
        }

        impl $crate::kernels::Declared for $kernel {
            fn entry(&self) -> &'static $crate::kernels::Entry {
                static ENTRY: $crate::kernels::Entry = $kernel::ENTRY;
                &ENTRY
            }

            fn params(&self) -> &[u8] {
                bytemuck::bytes_of(&self.params)
            }

            fn tensors(&self) -> Vec<$crate::memory::Tensor> {
                vec![$(self.$read,)* $($(self.$texture,)*)? $(self.$write,)*]
            }
        }
    };
}
pub(crate) use kernel;

/// The first of its arguments: what is given, or else the default behind it.
macro_rules! first {
    ($first:expr $(, $rest:expr)*) => {
        $first
    };
}
pub(crate) use first;

/// The first of its arguments, a type.
macro_rules! first_type {
    ($first:ty $(, $rest:ty)*) => {
        $first
    };
}
pub(crate) use first_type;

/// Declares the struct `Params` of a shader file, with the table that the tests compare with the shader.
macro_rules! params {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(C)]
        #[expect(missing_docs, reason = "the shader's header describes each field")]
        pub struct $name { $(pub $field: $ty),* }

        impl $name {
            pub(crate) const FIELDS: &'static [(&'static str, usize)] = &[$((stringify!($field), std::mem::offset_of!($name, $field))),*];
        }

        const _: () = assert!(size_of::<$name>() % 16 == 0, "parameters are padded to 16 bytes");
    };
}
pub(crate) use params;
