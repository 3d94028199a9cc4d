//! Barriers need uniform control flow, which wgpu does not check.

use naga::ir::{Block, Function, Module, Statement};
use thinnet::kernels::ALL;

use super::{assert_finds, check_wgsl, checked};

/// Walks a function in program order.
struct Walk<'a> {
    module: &'a Module,
    /// An invocation may have left the function before here.
    left: bool,
}

impl Walk<'_> {
    /// Whether a function has a barrier, itself or in what it calls.
    fn has_barrier(&self, block: &Block) -> bool {
        block.iter().any(|statement| match statement {
            Statement::ControlBarrier(_) | Statement::WorkGroupUniformLoad { .. } => true,
            Statement::Call { function, .. } => self.has_barrier(&self.module.functions[*function].body),
            _ => parts(statement).into_iter().any(|block| self.has_barrier(block)),
        })
    }

    /// A barrier must be at the top level of its function, with no `return` on the way to it.
    fn check(&mut self, block: &Block, nested: bool) -> Result<(), String> {
        for statement in block {
            let barrier = match statement {
                Statement::ControlBarrier(_) | Statement::WorkGroupUniformLoad { .. } => true,
                Statement::Call { function, .. } => self.has_barrier(&self.module.functions[*function].body),
                _ => false,
            };
            if barrier && self.left {
                return Err("a barrier comes after a return".into());
            }
            if barrier && nested {
                return Err("a barrier is inside a branch or a loop".into());
            }
            self.left |= matches!(statement, Statement::Return { .. } | Statement::Kill);
            let nested = nested || !matches!(statement, Statement::Block(_));
            for part in parts(statement) {
                self.check(part, nested)?;
            }
        }
        Ok(())
    }
}

/// The blocks inside a statement, in program order.
fn parts(statement: &Statement) -> Vec<&Block> {
    match statement {
        Statement::Block(block) => vec![block],
        Statement::If { accept, reject, .. } => vec![accept, reject],
        Statement::Switch { cases, .. } => cases.iter().map(|case| &case.body).collect(),
        Statement::Loop { body, continuing, .. } => vec![body, continuing],
        _ => Vec::new(),
    }
}

/// What is wrong with the barriers of a module.
fn check_barriers(module: &Module) -> Result<(), String> {
    let functions = module.functions.iter().map(|(_, function)| function);
    for function in functions.chain(module.entry_points.iter().map(|point| &point.function)) {
        let Function { name, body, .. } = function;
        Walk { module, left: false }
            .check(body, false)
            .map_err(|e| format!("{}: {e}", name.as_deref().unwrap_or("entry point")))?;
    }
    Ok(())
}

#[test]
fn no_invocation_can_miss_a_barrier() {
    let mut barriers = 0;
    for entry in ALL {
        let shader = checked(entry, 2);
        check_barriers(&shader.module).unwrap_or_else(|error| panic!("{}: {error}", entry.file));
        let walk = Walk { module: &shader.module, left: false };
        barriers += shader.module.entry_points.iter().filter(|point| walk.has_barrier(&point.function.body)).count();
    }
    assert!(barriers > 0, "no kernel has a barrier, so nothing was checked");
}

#[test]
fn barriers_that_an_invocation_can_miss_are_found() {
    let module = |body: &str| {
        let source = format!(
            "var<workgroup> shared_words: array<u32, 64>;
             fn wait() {{ workgroupBarrier(); }}
             @compute @workgroup_size(64) fn kernel(@builtin(local_invocation_index) local: u32) {{ {body} }}"
        );
        check_wgsl(&source, "barrier.wgsl").unwrap().module
    };
    assert_eq!(check_barriers(&module("workgroupBarrier(); if (local > 3u) { return; } shared_words[local] = 1u;")), Ok(()));
    assert_finds(check_barriers(&module("if (local > 3u) { return; } workgroupBarrier();")), "after a return");
    assert_finds(check_barriers(&module("if (local > 3u) { return; } wait();")), "after a return");
    assert_finds(check_barriers(&module("if (local > 3u) { workgroupBarrier(); }")), "inside a branch");
    assert_finds(check_barriers(&module("for (var i = local; i < 9u; i++) { storageBarrier(); }")), "inside a branch");
}
