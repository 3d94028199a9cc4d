// Matrices as storage textures; the host side is src/kernels/texture.rs. PANEL_ROWS is put in front of the module by it.

const PAD_QUADS = 4u;   // texels between the rows of two panels: rows a power of two apart would share cache lines

// The texel of the first quad of a row of a member's matrix, whose rows are `row_quads` long and fill `panels` panels.
fn texture_at(member: u32, row: u32, row_quads: u32, panels: u32) -> vec2<u32> {
    return vec2<u32>((member * panels + row / PANEL_ROWS) * (row_quads + PAD_QUADS), row % PANEL_ROWS);
}
