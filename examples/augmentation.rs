//! What training sees of ten Fashion-MNIST images: each kind of augmentation in a line of its own, and all together in two epochs.
//!
//! `cargo run --release --features files --example augmentation -- [FOLDER [PICTURE]]`
//!
//! The picture is a PGM file, `augmentation.pgm` if not named. It is drawn by the f64 reference, which the tests hold the device to,
//! so that no adapter is needed. The default folder is that of Debian's package dataset-fashion-mnist.

use std::path::Path;

use thinnet::data::idx::{self, Part};
use thinnet::reference::augmented;
use thinnet::{Augmentation, Error, Result, Shape};

const FOLDER: &str = "/usr/share/datasets/fashion-mnist";
const IMAGES: usize = 10;
const SIDE: usize = 28;
/// Pixels of the picture for one of an image, and what an image takes with its margin.
const ZOOM: usize = 3;
const CELL: usize = SIDE + 2;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| FOLDER.into());
    let picture = arguments.next().unwrap_or_else(|| "augmentation.pgm".into());
    let train = idx::read_folder(Path::new(&folder), Part::Train)?.slice(0..1000)?;
    let values: Vec<f64> = (0..train.rows()).flat_map(|row| train.inputs().row_f32(row)).map(f64::from).collect();

    let none = Augmentation::default();
    let all = Augmentation { shift: 3, flip: true, noise: 0.1, cutout: 10, mixup: 0.4 };
    let lines = [
        ("as they are", none, 0),
        ("shift 3", Augmentation { shift: 3, ..none }, 0),
        ("flip", Augmentation { flip: true, ..none }, 0),
        ("cutout 10", Augmentation { cutout: 10, ..none }, 0),
        ("noise 0.1", Augmentation { noise: 0.1, ..none }, 0),
        ("mixup 0.4", Augmentation { mixup: 0.4, ..none }, 0),
        ("all, epoch 0", all, 0),
        ("all, epoch 1", all, 1),
    ];
    let (width, height) = (IMAGES * CELL * ZOOM, lines.len() * CELL * ZOOM);
    let mut pixels = vec![255; width * height];
    for (line, (name, augment, epoch)) in lines.into_iter().enumerate() {
        let mut shares = Vec::new();
        for i in 0..IMAGES {
            let data = (values.as_slice(), train.inputs().samples());
            let seen = augmented(&augment, &Shape::from([1, SIDE as u32, SIDE as u32]), data, i, (42, epoch))?;
            for (y, x) in (0..SIDE * ZOOM).flat_map(|y| (0..SIDE * ZOOM).map(move |x| (y, x))) {
                let grey = seen.inputs[y / ZOOM * SIDE + x / ZOOM].clamp(0.0, 1.0) * 255.0;
                pixels[(line * CELL * ZOOM + y) * width + i * CELL * ZOOM + x] = grey as u8;
            }
            shares.push(format!("{:.2}", seen.share));
        }
        println!("{name:14} share of the image itself: {}", shares.join(" "));
    }
    let file = [format!("P5\n{width} {height}\n255\n").into_bytes(), pixels].concat();
    std::fs::write(&picture, file).map_err(|e| Error::File { path: picture.into(), problem: format!("cannot be written: {e}") })
}
