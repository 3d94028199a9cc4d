//! Barriers need uniform control flow, which wgpu does not check.
//!
//! Here a value is uniform if all invocations of a workgroup are sure to have the same: a constant, the workgroup's own number,
//! what read-only storage holds at a uniform place, what is computed of such, and a local variable that nothing else is ever
//! put into. All else varies.

use std::collections::BTreeSet;

use naga::ir::{AddressSpace, Binding, Block, BuiltIn, Expression, Function, LocalVariable, Module, Statement};
use naga::{Handle, StorageAccess};
use thinnet::kernels::ALL;

use super::{all_checked, assert_finds, check_wgsl};

/// What is known of one function.
struct Flow<'a> {
    module: &'a Module,
    function: &'a Function,
    /// By number of the argument.
    uniform_arguments: Vec<bool>,
    /// The variables that may differ between invocations.
    varying: BTreeSet<Handle<LocalVariable>>,
}

impl<'a> Flow<'a> {
    fn new(module: &'a Module, function: &'a Function) -> Self {
        // Of an entry point; what a function is called with is known from its calls.
        let group =
            |binding: &Option<Binding>| matches!(binding, Some(Binding::BuiltIn(BuiltIn::WorkGroupId | BuiltIn::NumWorkGroups)));
        let mut flow = Self { module, function, uniform_arguments: Vec::new(), varying: BTreeSet::new() };
        flow.uniform_arguments = function.arguments.iter().map(|argument| group(&argument.binding)).collect();
        flow
    }

    /// The same with the arguments of which `uniform` says so, once the variables that vary are known.
    fn with_arguments(self, uniform: Vec<bool>) -> Self {
        let mut flow = Self { uniform_arguments: uniform, ..self };
        loop {
            let before = flow.varying.len();
            flow.find_varying(&flow.function.body, false);
            if flow.varying.len() == before {
                return flow;
            }
        }
    }

    fn is_uniform(&self, expression: Handle<Expression>) -> bool {
        let uniform = |expression: &Handle<Expression>| self.is_uniform(*expression);
        match &self.function.expressions[expression] {
            Expression::Literal(_) | Expression::Constant(_) | Expression::ZeroValue(_) => true,
            Expression::WorkGroupUniformLoadResult { .. } | Expression::ArrayLength(_) => true,
            Expression::FunctionArgument(number) => self.uniform_arguments[*number as usize],
            Expression::GlobalVariable(variable) => match self.module.global_variables[*variable].space {
                AddressSpace::Storage { access } => !access.contains(StorageAccess::STORE),
                space => space == AddressSpace::Uniform,
            },
            Expression::LocalVariable(variable) => !self.varying.contains(variable),
            Expression::Load { pointer: part } | Expression::AccessIndex { base: part, .. } => uniform(part),
            Expression::Splat { value, .. } | Expression::Swizzle { vector: value, .. } => uniform(value),
            Expression::Unary { expr, .. } | Expression::As { expr, .. } => uniform(expr),
            Expression::Access { base: left, index: right } | Expression::Binary { left, right, .. } => {
                uniform(left) && uniform(right)
            }
            Expression::Compose { components, .. } => components.iter().all(uniform),
            Expression::Select { condition, accept, reject } => [condition, accept, reject].into_iter().all(uniform),
            Expression::Math { arg, arg1, arg2, arg3, .. } => {
                uniform(arg) && [arg1, arg2, arg3].into_iter().flatten().all(uniform)
            }
            _ => false,
        }
    }

    /// The variable that a pointer leads to.
    fn variable(&self, pointer: Handle<Expression>) -> Option<Handle<LocalVariable>> {
        match &self.function.expressions[pointer] {
            Expression::LocalVariable(variable) => Some(*variable),
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.variable(*base),
            _ => None,
        }
    }

    /// Whether only some of the invocations may run the blocks of a statement, or one of them more often than another.
    fn divides(&self, statement: &Statement) -> bool {
        match statement {
            Statement::If { condition, .. } => !self.is_uniform(*condition),
            Statement::Switch { selector, .. } => !self.is_uniform(*selector),
            Statement::Loop { body, continuing, break_if } => {
                break_if.is_some_and(|condition| !self.is_uniform(condition))
                    || self.some_leave(body, false)
                    || self.some_leave(continuing, false)
            }
            _ => false,
        }
    }

    /// Whether some invocations may leave a loop or its round before others.
    fn some_leave(&self, block: &Block, divided: bool) -> bool {
        block.iter().any(|statement| match statement {
            Statement::Break | Statement::Continue | Statement::Return { .. } | Statement::Kill => divided,
            // A loop inside is asked for itself: what it breaks is its own. What it returns from is not.
            statement => {
                let divided = divided || self.divides(statement);
                parts(statement).into_iter().any(|block| self.some_leave(block, divided))
            }
        })
    }

    fn find_varying(&mut self, block: &Block, divided: bool) {
        for statement in block {
            match statement {
                Statement::Store { pointer, value } if divided || !self.is_uniform(*value) => {
                    self.varying.extend(self.variable(*pointer));
                }
                Statement::Call { arguments, .. } => {
                    let variables: Vec<_> = arguments.iter().filter_map(|argument| self.variable(*argument)).collect();
                    self.varying.extend(variables);
                }
                _ => {}
            }
            let divided = divided || self.divides(statement);
            parts(statement).into_iter().for_each(|block| self.find_varying(block, divided));
        }
    }
}

/// Walks a function in program order.
struct Walk<'a> {
    flow: Flow<'a>,
    /// An invocation may have left the function before here.
    left: bool,
    /// Of every function: which arguments are uniform in every call so far.
    calls: &'a mut Vec<Option<Vec<bool>>>,
}

/// Whether a function has a barrier, itself or in what it calls.
fn has_barrier(module: &Module, block: &Block) -> bool {
    block.iter().any(|statement| match statement {
        Statement::ControlBarrier(_) | Statement::WorkGroupUniformLoad { .. } => true,
        Statement::Call { function, .. } => has_barrier(module, &module.functions[*function].body),
        _ => parts(statement).into_iter().any(|block| has_barrier(module, block)),
    })
}

impl Walk<'_> {
    /// On the way to a barrier there must be no `return`, and no branch and no loop that some invocations take and others do not.
    fn check(&mut self, block: &Block, divided: bool) -> Result<(), String> {
        for statement in block {
            let barrier = match statement {
                Statement::ControlBarrier(_) | Statement::WorkGroupUniformLoad { .. } => true,
                Statement::Call { function, arguments, .. } => {
                    let uniform: Vec<bool> = arguments.iter().map(|argument| self.flow.is_uniform(*argument)).collect();
                    let known = self.calls[function.index()].get_or_insert_with(|| vec![true; uniform.len()]);
                    known.iter_mut().zip(uniform).for_each(|(known, uniform)| *known &= uniform);
                    has_barrier(self.flow.module, &self.flow.module.functions[*function].body)
                }
                _ => false,
            };
            if barrier && self.left {
                return Err("a barrier comes after a return".into());
            }
            if barrier && divided {
                return Err("a barrier is inside a branch or a loop that depends on the invocation".into());
            }
            self.left |= matches!(statement, Statement::Return { .. } | Statement::Kill);
            let divided = divided || self.flow.divides(statement);
            for part in parts(statement) {
                self.check(part, divided)?;
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
    let mut calls = vec![None; module.functions.len()];
    let mut check = |function: &Function, uniform: Option<Vec<bool>>| {
        let flow = Flow::new(module, function);
        let uniform = uniform.unwrap_or_else(|| flow.uniform_arguments.clone());
        Walk { flow: flow.with_arguments(uniform), left: false, calls: &mut calls }
            .check(&function.body, false)
            .map_err(|e| format!("{}: {e}", function.name.as_deref().unwrap_or("entry point")))?;
        Ok::<_, String>(calls.clone())
    };
    let mut known = Vec::new();
    for point in &module.entry_points {
        known = check(&point.function, None)?;
    }
    // A function comes before those that call it.
    for (handle, function) in module.functions.iter().collect::<Vec<_>>().into_iter().rev() {
        // One that nothing calls needs no check.
        if let Some(uniform) = known[handle.index()].clone() {
            known = check(function, Some(uniform))?;
        }
    }
    Ok(())
}

#[test]
fn no_invocation_can_miss_a_barrier() {
    let mut barriers = BTreeSet::new();
    for entry in ALL {
        for shader in all_checked(entry, 2) {
            check_barriers(&shader.module).unwrap_or_else(|error| panic!("{}: {error}", entry.file));
            let points = shader.module.entry_points.iter();
            let with = points.filter(|point| has_barrier(&shader.module, &point.function.body));
            barriers.extend(with.map(|point| point.name.clone()));
        }
    }
    assert!(barriers.contains("metrics") && barriers.contains("dense_update_tile"), "what was checked: {barriers:?}");
}

#[test]
fn barriers_that_an_invocation_can_miss_are_found() {
    let module = |body: &str| {
        let source = format!(
            "struct Step {{ rows: u32 }}
             @group(0) @binding(0) var<storage, read> step: Step;
             @group(0) @binding(1) var<storage, read_write> counts: array<u32>;
             var<workgroup> shared_words: array<u32, 64>;
             fn wait() {{ workgroupBarrier(); }}
             fn wait_often(n: u32) {{ for (var i = 0u; i < n; i++) {{ workgroupBarrier(); }} }}
             fn increase(i: ptr<function, u32>) {{ *i += 1u; }}
             @compute @workgroup_size(64)
             fn kernel(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) group: vec3<u32>) {{ {body} }}"
        );
        check_wgsl(&source, "barrier.wgsl").unwrap_or_else(|error| panic!("{error}")).module
    };
    let good = |body: &str| assert_eq!(check_barriers(&module(body)), Ok(()), "{body}");
    let bad = |body: &str, says: &str| assert_finds(check_barriers(&module(body)), says);
    good("workgroupBarrier(); if (local > 3u) { return; } shared_words[local] = 1u;");
    bad("if (local > 3u) { return; } workgroupBarrier();", "after a return");
    bad("if (local > 3u) { return; } wait();", "after a return");
    bad("if (local > 3u) { workgroupBarrier(); }", "inside a branch");
    bad("for (var i = local; i < 9u; i++) { storageBarrier(); }", "inside a branch");
    // Uniform loops and branches, and how they stop being uniform.
    good("for (var i = group.x; i < step.rows; i++) { workgroupBarrier(); }");
    good("let n = step.rows; if (n > 3u) { wait(); } wait_often(n + group.y);");
    bad("for (var i = 0u; i < counts[0]; i++) { workgroupBarrier(); }", "inside a branch");
    bad("for (var i = 0u; i < shared_words[0]; i++) { workgroupBarrier(); }", "inside a branch");
    bad("for (var i = 0u; i < step.rows; i += local) { workgroupBarrier(); }", "inside a branch");
    bad("for (var i = 0u; i < step.rows; i++) { if (local > i) { break; } workgroupBarrier(); }", "inside a branch");
    bad("for (var i = 0u; i < step.rows; i++) { if (local > i) { continue; } workgroupBarrier(); }", "inside a branch");
    bad("var n = 0u; if (local > 3u) { n = 1u; } if (n == 0u) { workgroupBarrier(); }", "inside a branch");
    bad("for (var i = 0u; i < step.rows; i++) { increase(&i); workgroupBarrier(); }", "inside a branch");
    bad("wait_often(local);", "wait_often");
    bad("wait_often(step.rows); wait_often(local);", "wait_often");
}
