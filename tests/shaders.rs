//! The shaders against their declarations in `kernels::ALL`, with naga and without a GPU.
//!
//! Every check returns what is wrong as text, so that a test can also show that it finds a defect put there on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use naga::ir::{AddressSpace, Expression, GlobalVariable, MathFunction, Module, Scalar, ScalarKind, ShaderStage, TypeInner};
use naga::valid::{Capabilities, FunctionInfo, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{Handle, StorageAccess};
use thinnet::kernels::{ALL, Access, Entry, WORKGROUP, with_u64};
use thinnet::plan::Caps;

mod barriers;
mod step_table;
mod stores;

/// A module that naga accepted, and what it found out about it.
#[derive(Debug)]
struct Checked {
    module: Module,
    info: ModuleInfo,
    sizes: naga::proc::Layouter,
}

/// Parses and validates WGSL with the capabilities that WebGPU has without any feature. Errors are naga's, annotated; not all of
/// them have a place, so the file is named in front.
fn check_wgsl(source: &str, file: &str) -> Result<Checked, String> {
    let module = naga::front::wgsl::parse_str(source)
        .map_err(|error| format!("{file}: {}", error.emit_to_string_with_path(source, file)))?;
    // Only the shuffle families are for devices with more than the baseline.
    let beyond = if file.ends_with("_shuffle.wgsl") { Capabilities::SUBGROUP } else { Capabilities::empty() };
    let info = Validator::new(ValidationFlags::all(), beyond)
        .validate(&module)
        .map_err(|error| format!("{file}: {}", error.emit_to_string_with_path(source, file)))?;
    let mut sizes = naga::proc::Layouter::default();
    sizes.update(module.to_ctx()).map_err(|error| format!("{file}: {error}"))?;
    Ok(Checked { module, info, sizes })
}

/// The first variant of the module of an entry for plans of `members` members.
#[track_caller]
fn checked(entry: &Entry, members: u32) -> Checked {
    check_wgsl(&entry.module(members, &(entry.variants)()[0]), entry.file).unwrap_or_else(|error| panic!("{error}"))
}

/// Every variant.
#[track_caller]
fn all_checked(entry: &Entry, members: u32) -> Vec<Checked> {
    let check = |constants: thinnet::kernels::Constants| {
        let checked = check_wgsl(&entry.module(members, &constants), entry.file);
        checked.unwrap_or_else(|error| panic!("{} with {constants:?}: {error}", entry.name))
    };
    (entry.variants)().into_iter().map(check).collect()
}

impl Checked {
    /// The number of an entry point in the module.
    fn entry_point(&self, name: &str) -> Result<usize, String> {
        self.module.entry_points.iter().position(|e| e.name == name).ok_or_else(|| format!("no entry point {name}"))
    }

    fn entry_info(&self, name: &str) -> Result<&FunctionInfo, String> {
        Ok(self.info.get_entry_point(self.entry_point(name)?))
    }

    /// The variables that an entry point and the functions it calls use.
    fn used(&self, name: &str) -> Result<Vec<(Handle<GlobalVariable>, &GlobalVariable)>, String> {
        let info = self.entry_info(name)?;
        Ok(self.module.global_variables.iter().filter(|(handle, _)| !info[*handle].is_empty()).collect())
    }

    fn inner(&self, ty: Handle<naga::Type>) -> &TypeInner {
        &self.module.types[ty].inner
    }

    /// Size, and the name and offset of every field, of a struct; of the element, if it is an array of structs.
    fn fields(&self, ty: Handle<naga::Type>) -> Result<(usize, Vec<(String, usize)>), String> {
        match self.inner(ty) {
            TypeInner::Array { base, .. } => self.fields(*base),
            TypeInner::Struct { members, span } => {
                let field = |m: &naga::StructMember| (m.name.clone().unwrap_or_default(), m.offset as usize);
                Ok((*span as usize, members.iter().map(field).collect()))
            }
            other => Err(format!("{other:?} is no struct")),
        }
    }

    /// The variable of a name.
    fn variable(&self, name: &str) -> Result<&GlobalVariable, String> {
        let found = self.module.global_variables.iter().find(|(_, variable)| variable.name.as_deref() == Some(name));
        found.map(|(_, variable)| variable).ok_or_else(|| format!("no variable {name}"))
    }
}

/// What is wrong between a declaration and its module: bindings, their access, the layout of `params`.
fn check_bindings(entry: &Entry, shader: &Checked) -> Result<(), String> {
    let mut declared = BTreeMap::from([(0, ("params", Access::Read))]);
    declared.extend((1..).zip(entry.sections.iter().map(|&name| (name, Access::Read))));
    for tensor in entry.tensors {
        if let Some((name, _)) = declared.insert(tensor.number, (tensor.name, tensor.access)) {
            return Err(format!("{name} and {} are both bound to {}", tensor.name, tensor.number));
        }
    }
    let info = shader.entry_info(entry.name)?;
    let mut found = BTreeMap::new();
    for (handle, variable) in shader.used(entry.name)? {
        let name = variable.name.as_deref().unwrap_or_default();
        if let (Some(binding), AddressSpace::Handle) = (&variable.binding, variable.space) {
            found.insert(binding.binding, (name, Access::Texture));
        }
        let (Some(binding), AddressSpace::Storage { access }) = (&variable.binding, variable.space) else { continue };
        let writable = access.contains(StorageAccess::STORE);
        if writable != info[handle].contains(GlobalUse::WRITE) {
            return Err(format!("{name} is declared writable ({writable}), which is not what the kernel does with it"));
        }
        if binding.group != 0 {
            return Err(format!("{name} is in group {}", binding.group));
        }
        found.insert(binding.binding, (name, if writable { Access::Write } else { Access::Read }));
    }
    if found != declared {
        return Err(format!("{}: the shader uses {found:?}, the kernel declares {declared:?}", entry.name));
    }
    let (size, fields) = shader.fields(shader.variable("params")?.ty)?;
    let declared: Vec<_> = entry.params.1.iter().map(|(name, offset)| ((*name).to_string(), *offset)).collect();
    if (size, &fields) != (entry.params.0, &declared) {
        return Err(format!("params: {size} bytes {fields:?} in the shader, {} bytes {declared:?} in Rust", entry.params.0));
    }
    Ok(())
}

/// What an entry point asks for beyond the WebGPU baseline.
fn check_limits(entry: &Entry, shader: &Checked) -> Result<(), String> {
    let limits = Caps::baseline();
    let point = &shader.module.entry_points[shader.entry_point(entry.name)?];
    let invocations: u32 = point.workgroup_size.iter().product();
    // Some families of matrix products have workgroups of their own.
    let own: &[u32] = match entry.file {
        "dense_shuffle.wgsl" | "dense_dropped_shuffle.wgsl" | "recurrent_shuffle.wgsl" => &[4, 8, 16],
        "dense_tile.wgsl" => &[64, 128],
        _ => &[WORKGROUP],
    };
    if !own.contains(&invocations) || invocations > limits.max_invocations || point.stage != ShaderStage::Compute {
        return Err(format!("a workgroup of {:?} is not one of {own:?} invocations", point.workgroup_size));
    }
    let used = shader.used(entry.name)?;
    let in_space = |wanted: fn(AddressSpace) -> bool| used.iter().filter(move |(_, variable)| wanted(variable.space));
    let bytes: u32 = in_space(|space| space == AddressSpace::WorkGroup).map(|(_, v)| shader.sizes[v.ty].size).sum();
    if bytes > limits.workgroup_memory {
        return Err(format!("{bytes} bytes of workgroup memory"));
    }
    let buffers = in_space(|space| matches!(space, AddressSpace::Storage { .. })).count() as u32;
    if buffers > limits.max_storage_buffers {
        return Err(format!("{buffers} storage buffers"));
    }
    let textures = in_space(|space| space == AddressSpace::Handle).count();
    if textures > if entry.file.ends_with("_shuffle.wgsl") { 3 } else { 0 } {
        return Err(format!("{textures} textures"));
    }
    let others = |space| {
        use AddressSpace::{Handle, Private, Storage, WorkGroup};
        !matches!(space, Storage { .. } | Handle | WorkGroup | Private)
    };
    if let Some((_, variable)) = in_space(others).next() {
        return Err(format!("{:?} is neither storage nor workgroup memory", variable.name));
    }
    let float_atomic = |inner: &TypeInner| matches!(inner, TypeInner::Atomic(Scalar { kind: ScalarKind::Float, .. }));
    match shader.module.types.iter().any(|(_, ty)| float_atomic(&ty.inner)) {
        true => Err("float atomics add up in any order".into()),
        false => Ok(()),
    }
}

/// Translates an entry point for Vulkan, Metal and DX12 and returns the sizes of what comes out.
fn translate(entry: &Entry, shader: &Checked) -> Result<[usize; 3], String> {
    use naga::back::{hlsl, msl, spv};
    let (module, info) = (&shader.module, &shader.info);
    let point = Some((ShaderStage::Compute, entry.name.to_string()));
    let options = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: entry.name.into() };
    let spirv = spv::write_vec(module, info, &spv::Options::default(), Some(&options)).map_err(|e| format!("SPIR-V: {e}"))?;
    let options = msl::PipelineOptions { entry_point: point.clone(), ..Default::default() };
    let (metal, translated) =
        msl::write_string(module, info, &msl::Options::default(), &options).map_err(|e| format!("MSL: {e}"))?;
    let (mut text, options) = (String::new(), hlsl::PipelineOptions { entry_point: point });
    let reflection = hlsl::Writer::new(&mut text, &hlsl::Options::default(), &options)
        .write(module, info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    for name in translated.entry_point_names {
        name.map_err(|e| format!("MSL: {e}"))?;
    }
    for name in reflection.entry_point_names {
        name.map_err(|e| format!("HLSL: {e}"))?;
    }
    Ok([spirv.len(), metal.len(), text.len()])
}

/// The texts of `shaders/` and `shaders/lib/`, by path below `shaders/`.
fn files() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut files = BTreeMap::new();
    for folder in ["", "lib/"] {
        for file in std::fs::read_dir(root.join(folder)).unwrap().map(|file| file.unwrap().path()) {
            if file.is_file() {
                let name = file.file_name().unwrap().to_str().unwrap().to_string();
                files.insert(format!("{folder}{name}"), std::fs::read_to_string(&file).unwrap());
            }
        }
    }
    files
}

/// What is wrong between the files and the entries that name them.
fn check_files(files: &BTreeMap<String, String>, entries: &[&Entry]) -> Result<(), String> {
    for (name, text) in files {
        let used = match name.strip_prefix("lib/") {
            Some(_) => {
                let used =
                    |entry: &&Entry| entry.source.contains(text.as_str()) || with_u64(entry.source).contains(text.as_str());
                entries.iter().any(used)
            }
            None => entries.iter().any(|entry| entry.file == name && entry.source.contains(text.as_str())),
        };
        if !used {
            return Err(format!("shaders/{name} is in no kernel's source"));
        }
    }
    // Which entry points the files hold, and which the kernels name.
    let mut found = BTreeSet::new();
    for entry in entries {
        let shader = check_wgsl(&entry.module(1, &(entry.variants)()[0]), entry.file)?;
        found.extend(shader.module.entry_points.iter().map(|point| (entry.file.to_string(), point.name.clone())));
    }
    let declared: BTreeSet<_> = entries.iter().map(|entry| (entry.file.to_string(), entry.name.to_string())).collect();
    let difference: Vec<_> = found.symmetric_difference(&declared).collect();
    if difference.is_empty() { Ok(()) } else { Err(format!("not both in a shader and a kernel: {difference:?}")) }
}

#[track_caller]
fn assert_finds<T: std::fmt::Debug>(result: Result<T, String>, expected: &str) {
    let message = result.expect_err(&format!("a defect that should be found as {expected:?}"));
    assert!(message.contains(expected), "{message:?} does not say {expected:?}");
}

/// An entry whose WGSL is another; `change` must change it.
fn changed(name: &str, change: impl Fn(&str) -> String) -> Entry {
    let entry = ALL.iter().find(|entry| entry.name == name).expect("a kernel of that name");
    let source = change(entry.source);
    assert_ne!(source, entry.source, "{name}: nothing was changed");
    Entry { source: source.leak(), ..**entry }
}

#[test]
fn every_file_and_every_entry_point_is_a_kernel() {
    check_files(&files(), ALL).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn forgotten_files_and_entry_points_are_found() {
    let mut more = files();
    more.insert("spare.wgsl".into(), "// Nothing uses this.".into());
    assert_finds(check_files(&more, ALL), "spare.wgsl");
    let mut more = files();
    more.insert("lib/spare.wgsl".into(), "// Nothing uses this.".into());
    assert_finds(check_files(&more, ALL), "lib/spare.wgsl");
    assert_finds(check_files(&files(), &ALL[1..]), ALL[0].name);
    let extra = changed("sgd", |source| format!("{source}\n@compute @workgroup_size(1) fn stray() {{}}\n"));
    let entries: Vec<_> = ALL.iter().map(|&entry| if entry.name == "sgd" { &extra } else { entry }).collect();
    assert_finds(check_files(&files(), &entries), "stray");
}

#[test]
fn every_module_is_wgsl_of_the_baseline_and_translates() {
    // For other compilers: scripts/tint.sh.
    let dump = std::env::var_os("THINNET_DUMP_WGSL");
    for entry in ALL {
        for members in [1, 2] {
            for (variant, constants) in (entry.variants)().into_iter().enumerate() {
                let module = entry.module(members, &constants);
                let shader = check_wgsl(&module, entry.file).unwrap_or_else(|error| panic!("{constants:?}: {error}"));
                if let Some(folder) = &dump {
                    let file = Path::new(folder).join(format!("{}-{members}-{variant}.wgsl", entry.name));
                    std::fs::write(&file, module).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                }
                let sizes = translate(entry, &shader).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
                assert!(sizes.iter().all(|&size| size > 200), "{}: {sizes:?} is too short for a kernel", entry.name);
            }
        }
    }
}

/// What a device with 64-bit integers compiles instead: one function differs, so the bits are the same if that is right, which
/// the known answers of `philox` show on such a device, and those of `host` on one without.
#[test]
fn modules_with_64_bit_integers_are_wgsl_and_differ_in_the_product_alone() {
    let mut files = BTreeSet::new();
    for entry in ALL {
        let module = entry.module(2, &(entry.variants)()[0]);
        assert!(!module.contains("u64("), "{}: 64-bit integers are no part of the baseline", entry.name);
        let wide = with_u64(&module);
        if wide == module {
            continue;
        }
        let different = wide.lines().filter(|line| !module.contains(line)).count();
        assert!((1..8).contains(&different), "{}: {different} lines differ", entry.name);
        let parsed = naga::front::wgsl::parse_str(&wide).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
        let capabilities = Capabilities::SHADER_INT64 | Capabilities::SUBGROUP;
        Validator::new(ValidationFlags::all(), capabilities).validate(&parsed).unwrap();
        files.insert(entry.file);
    }
    assert!(files.len() > 4, "Philox is in {files:?} alone");
}

#[test]
fn bindings_and_params_are_those_of_the_shader() {
    for entry in ALL {
        check_bindings(entry, &checked(entry, 2)).unwrap_or_else(|error| panic!("{} in {}: {error}", entry.name, entry.file));
        assert_eq!(entry.params.0 % 16, 0, "{}: params are padded to 16 bytes", entry.name);
    }
}

#[test]
fn wrong_bindings_and_params_are_found() {
    let check = |name, from: &str, to: &str| {
        let entry = changed(name, |source| source.replacen(from, to, 1));
        check_bindings(&entry, &checked(&entry, 2))
    };
    assert_finds(check("gather_f32", "@binding(6) var<storage, read_write> x", "@binding(7) var<storage, read_write> x"), "uses");
    assert_finds(
        check("dense_forward", "@group(0) @binding(4) var<storage, read> x", "@group(1) @binding(4) var<storage, read> x"),
        "group 1",
    );
    assert_finds(check("sgd", "binding(2) var<storage, read> dw", "binding(2) var<storage, read_write> dw"), "writable");
    assert_finds(
        check("store_output", "= y[group.z * (p.y_stride / 4u) + i / p.quads * p.y_row + i % p.quads]", "= vec4<f32>()"),
        "uses",
    );
    assert_finds(check("path_gather", "    let v = x[member", "    let v = branch[0] + x[member"), "uses");
    assert_finds(check("adam", "    quads: u32,\n    stride: u32,", "    stride: u32,\n    quads: u32,"), "params");
    assert_finds(check("adam", "    pad1: u32,\n", ""), "params");
    assert_finds(check("metrics", "    hits_stride: u32,", "    hits_stride: u32,\n    more: vec4<u32>,"), "params");
}

#[test]
fn every_kernel_stays_inside_the_webgpu_baseline() {
    for entry in ALL {
        for shader in all_checked(entry, 2) {
            check_limits(entry, &shader).unwrap_or_else(|error| panic!("{} in {}: {error}", entry.name, entry.file));
        }
    }
}

#[test]
fn kernels_past_the_baseline_are_found() {
    let check = |name, from: &str, to: &str| {
        let entry = changed(name, |source| source.replace(from, to));
        check_limits(&entry, &checked(&entry, 2))
    };
    assert_finds(
        check("dense_forward", "@workgroup_size(8, WORKGROUP / 8u)", "@workgroup_size(8, WORKGROUP / 4u)"),
        "workgroup of",
    );
    assert_finds(check("dense_forward_tile", "@workgroup_size(2u * TILE)", "@workgroup_size(8u * TILE)"), "workgroup of");
    assert_finds(check("dense_forward_tile", "const DEPTH = 16u;", "const DEPTH = 32u;"), "workgroup memory");
    assert_finds(check("metrics", "array<f32, WORKGROUP>", "array<f32, 4090>"), "workgroup memory");
    let ninth = "@group(0) @binding(8) var<storage, read_write> ninth: array<u32>;\n";
    let entry = changed("cross_entropy", |source| {
        format!("{ninth}{source}").replace("    let valid = step.rows;", "    let valid = step.rows + ninth[0];")
    });
    assert_finds(check_limits(&entry, &checked(&entry, 1)), "9 storage buffers");
    let uniform = |source: &str| source.replace("var<storage, read> params", "var<uniform> params");
    let entry = changed("sgd", uniform);
    assert_finds(check_limits(&entry, &checked(&entry, 1)), "neither storage nor workgroup");
    let atomic = "var<workgroup> sum: atomic<f32>;\n";
    let kernel = format!("{atomic}@compute @workgroup_size(1) fn f() {{ atomicAdd(&sum, 1.0); }}");
    assert_finds(check_wgsl(&kernel, "sum.wgsl"), "FLOAT32_ATOMIC");
}

/// Whether every argument of tanh is a clamped number: drivers return NaN far from 0, but the one of these tests may not.
fn tanh_is_clamped(module: &Module) -> bool {
    let functions = module.functions.iter().map(|(_, function)| function);
    functions.chain(module.entry_points.iter().map(|point| &point.function)).all(|function| {
        let of = |expression: &Expression, wanted| matches!(expression, Expression::Math { fun, .. } if *fun == wanted);
        function.expressions.iter().all(|(_, expression)| match expression {
            Expression::Math { fun: MathFunction::Tanh, arg, .. } => of(&function.expressions[*arg], MathFunction::Clamp),
            _ => true,
        })
    })
}

#[test]
fn no_driver_sees_a_large_argument_of_tanh() {
    for entry in ALL {
        assert!(tanh_is_clamped(&checked(entry, 1).module), "{}", entry.file);
    }
    let bare =
        changed("activation_forward", |source| source.replace("tanh(clamp(x, vec4<f32>(-15.0), vec4<f32>(15.0)))", "tanh(x)"));
    assert!(!tanh_is_clamped(&checked(&bare, 1).module), "a bare tanh is found");
}

#[test]
fn errors_show_the_line_and_the_file() {
    let syntax = check_wgsl("fn f() {\n    let x = ;\n}\n", "broken.wgsl");
    assert_finds(syntax, "broken.wgsl:2:13");
    let meaning = check_wgsl("fn f() -> u32 {\n    return 1.5f;\n}\n", "broken.wgsl");
    assert_finds(meaning, "return 1.5f;");
    let feature = check_wgsl("enable f16;\nfn f() -> f16 { return 1.5h; }\n", "half.wgsl");
    assert_finds(feature, "half.wgsl: error");
}
