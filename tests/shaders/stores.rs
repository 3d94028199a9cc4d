//! Stores to a component of a vector by a number that is known at run time only. FXC, a compiler of DirectX 12, refuses them where it
//! cannot unroll the loop around them; it is not at hand, so naga's module is searched.

use naga::Handle;
use naga::ir::{Block, Expression, Statement, TypeInner};
use naga::valid::FunctionInfo;
use thinnet::kernels::ALL;

use super::{Checked, all_checked, assert_finds, check_wgsl};

/// Whether a statement stores through one of these pointers.
fn stores(block: &Block, by_number: &dyn Fn(Handle<Expression>) -> bool) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Store { pointer, .. } => by_number(*pointer),
        Statement::Block(block) => stores(block, by_number),
        Statement::If { accept, reject, .. } => stores(accept, by_number) || stores(reject, by_number),
        Statement::Switch { cases, .. } => cases.iter().any(|case| stores(&case.body, by_number)),
        Statement::Loop { body, continuing, .. } => stores(body, by_number) || stores(continuing, by_number),
        _ => false,
    })
}

fn check_stores(shader: &Checked) -> Result<(), String> {
    let module = &shader.module;
    let check = |name: &str, function: &naga::Function, info: &FunctionInfo| {
        let by_number = |pointer: Handle<Expression>| {
            let Expression::Access { base, .. } = function.expressions[pointer] else { return false };
            match *info[base].ty.inner_with(&module.types) {
                TypeInner::Pointer { base, .. } => matches!(module.types[base].inner, TypeInner::Vector { .. }),
                TypeInner::ValuePointer { size, .. } => size.is_some(),
                _ => false,
            }
        };
        let found = stores(&function.body, &by_number);
        if found { Err(format!("{name} stores to a component by a number of run time; take select and is_lane")) } else { Ok(()) }
    };
    for (handle, function) in module.functions.iter() {
        check(function.name.as_deref().unwrap_or_default(), function, &shader.info[handle])?;
    }
    (0..).zip(&module.entry_points).try_for_each(|(i, point)| check(&point.name, &point.function, shader.info.get_entry_point(i)))
}

#[test]
fn no_component_is_stored_by_a_number_of_run_time() {
    for entry in ALL {
        for shader in all_checked(entry, 2) {
            check_stores(&shader).unwrap_or_else(|error| panic!("{}: {error}", entry.file));
        }
    }
    let source = |store: &str| {
        let body = format!("var v = vec4<f32>(); for (var i = 0u; i < n; i++) {{ {store} }} out[0] = v;");
        format!(
            "@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>; @group(0) @binding(1) var<storage, read> n: u32; \
             @compute @workgroup_size(1) fn kernel() {{ {body} }}"
        )
    };
    let found = |store: &str| check_stores(&check_wgsl(&source(store), "test").unwrap());
    assert_finds(found("v[i] = 1.0;"), "kernel stores to a component");
    assert_finds(found("if (i > 1u) { out[1][i] += 1.0; }"), "kernel stores to a component");
    for harmless in ["v[2] = v[i];", "v.x += out[i][i];", "out[i] = v;"] {
        assert_eq!(found(harmless), Ok(()), "{harmless}");
    }
}
