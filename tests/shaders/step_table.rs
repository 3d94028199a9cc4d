//! The step table: what `RowLayout::write` puts where, and where the shaders look for it.

use naga::ir::TypeInner;
use thinnet::idle::{Idle, MAX_UPDATES};
use thinnet::kernels::ALL;
use thinnet::step::{MemberStep, OptimizerStep, RowLayout, Section, SiteLayout, SiteStep, Step, list_words};

use super::{Checked, checked};

/// Three sites, of which the second and the third keep lists.
fn layout(members: u32) -> RowLayout {
    let sites = [(9, None), (70, Some(65)), (130, Some(3))];
    RowLayout {
        members,
        sites: sites.map(|(units, kept)| SiteLayout { units, kept, idle: kept.is_some() }).into(),
        scopes: Vec::new(),
    }
}

/// The section that a variable of a shader is bound to; of the sites, the second, and the third for the lists of columns.
fn section(variable: &str) -> Section {
    match variable {
        "step" => Section::Step,
        "optimizer" => Section::Optimizer,
        "sites" => Section::Site(1),
        "idle" => Section::Idle(1),
        "kept_rows" => Section::Kept(1),
        "kept_columns" => Section::Kept(2),
        "position_rows" | "positions" => Section::Positions(1),
        "position_columns" => Section::Positions(2),
        other => panic!("{other} is no section of the step table"),
    }
}

/// A step in which every word differs.
fn marked(layout: &RowLayout) -> Step {
    let mut next = 0x4000_0000;
    let mut word = || {
        next += 1;
        next
    };
    let [rows, position, epoch, slot, batch_rows, accumulated, window] = std::array::from_fn(|_| word());
    let mut number = || f32::from_bits(word());
    let mut member = || {
        let mut optimizer = || OptimizerStep {
            learning_rate: number(),
            weight_decay: number(),
            beta1: number(),
            one_minus_beta1: number(),
            beta2: number(),
            one_minus_beta2: number(),
            root_bias2: number(),
            epsilon: number(),
            decoupled_decay: number(),
            nesterov: number().to_bits(),
            clip_norm: number(),
            max_norm: number(),
        };
        let (optimizer, earlier) = (optimizer(), [optimizer(), optimizer()]);
        let mut word = || number().to_bits();
        let mut site = |SiteLayout { units, kept, .. }: SiteLayout| {
            let [threshold, keep_all, scale, pass] = [word(), word(), word(), word()];
            let (units, count) = kept.map_or((0, 0), |kept| (units, kept));
            let first = pass % (units - count + 1);
            let kept = (first..first + count).collect();
            let dropped = (0..units).filter(|unit| !(first..first + count).contains(unit));
            let rows = dropped.zip([3, 2, 1]).map(|(row, updates)| [row, updates]).collect();
            let idle = Some(Idle { earlier: earlier.into(), rows });
            SiteStep { threshold, keep_all, scale: f32::from_bits(scale), pass, units, kept, idle }
        };
        let sites = layout.sites.iter().map(|&layout| site(layout)).collect();
        MemberStep { key: [word(), word()], optimizer, sites }
    };
    let members = (0..layout.members).map(|_| member()).collect();
    Step { rows, position, epoch, slot, batch_rows, accumulated, window, members }
}

/// The values of a section of a member by the names that the shader gives them.
fn expected(step: &Step, section: Section, member: usize) -> Vec<(&'static str, Vec<u32>)> {
    let MemberStep { key, optimizer: o, sites } = &step.members[member];
    let number = |value: f32| vec![value.to_bits()];
    match section {
        Section::Unused | Section::Scope(_) => Vec::new(),
        Section::Step => vec![
            ("rows", vec![step.rows]),
            ("position", vec![step.position]),
            ("epoch", vec![step.epoch]),
            ("slot", vec![step.slot]),
            ("batch_rows", vec![step.batch_rows]),
            ("accumulated", vec![step.accumulated]),
            ("window", vec![step.window]),
            ("pad0", vec![0]),
            ("keys", key.to_vec()),
        ],
        Section::Optimizer => vec![
            ("learning_rate", number(o.learning_rate)),
            ("weight_decay", number(o.weight_decay)),
            ("beta1", number(o.beta1)),
            ("one_minus_beta1", number(o.one_minus_beta1)),
            ("beta2", number(o.beta2)),
            ("one_minus_beta2", number(o.one_minus_beta2)),
            ("root_bias2", number(o.root_bias2)),
            ("epsilon", number(o.epsilon)),
            ("decoupled_decay", number(o.decoupled_decay)),
            ("nesterov", vec![o.nesterov]),
            ("clip_norm", number(o.clip_norm)),
            ("max_norm", number(o.max_norm)),
        ],
        Section::Kept(_) | Section::Positions(_) | Section::Idle(_) => panic!("a list has no fields"),
        Section::Site(i) => vec![
            ("threshold", vec![sites[i].threshold]),
            ("keep_all", vec![sites[i].keep_all]),
            ("scale", number(sites[i].scale)),
            ("pass_number", vec![sites[i].pass]),
        ],
    }
}

/// The distance of the elements of an array, if the type is one.
fn stride(shader: &Checked, ty: naga::Handle<naga::Type>) -> Option<usize> {
    match shader.inner(ty) {
        TypeInner::Array { stride, .. } => Some(*stride as usize),
        _ => None,
    }
}

/// A list is an array of words or of vectors of them without an end; the lists of the members are a multiple of 64 words apart,
/// with zeros between them.
fn check_list(shader: &Checked, ty: naga::Handle<naga::Type>, (layout, row, step): (&RowLayout, &[u8], &Step), section: Section) {
    let TypeInner::Array { base, size: naga::ArraySize::Dynamic, stride } = *shader.inner(ty) else { panic!("{section:?}") };
    match shader.inner(base) {
        TypeInner::Scalar(naga::Scalar::U32) => assert_eq!(stride, 4),
        TypeInner::Vector { size: naga::VectorSize::Quad, scalar: naga::Scalar::U32 } => assert_eq!(stride, 16),
        other => panic!("{section:?} is a list of {other:?}"),
    }
    let section_bytes = &row[layout.offset(section) as usize..][..layout.size(section) as usize];
    let found: &[u32] = bytemuck::cast_slice(section_bytes);
    let mut expected = Vec::new();
    for member in &step.members {
        let mut list = match section {
            Section::Kept(i) => member.sites[i].kept.clone(),
            Section::Positions(i) => member.sites[i].positions(),
            other => panic!("{other:?} is no list"),
        };
        let words = list_words(list.len() as u32);
        assert!(words.is_multiple_of(64) && words >= list.len() as u32);
        list.resize(words as usize, 0);
        expected.extend(list);
    }
    assert_eq!(found, expected, "{section:?} of {} members", layout.members);
}

/// The scalars of the steps of each member, the last first, and behind those of all members the rows of each: their count, then row by row.
fn check_idle(shader: &Checked, ty: naga::Handle<naga::Type>, (layout, row, step): (&RowLayout, &[u8], &Step), site: usize) {
    let TypeInner::Struct { members: fields, .. } = shader.inner(ty) else { panic!("idle is a struct") };
    let [optimizers, rows] = &fields[..] else { panic!("{fields:?}") };
    let scalars = size_of::<OptimizerStep>();
    assert_eq!((optimizers.offset, stride(shader, optimizers.ty), stride(shader, rows.ty)), (0, Some(scalars), Some(4)));
    let count = layout.members as usize * MAX_UPDATES as usize;
    assert_eq!(rows.offset as usize, count * scalars);
    let mut expected: Vec<u32> = Vec::new();
    for member in &step.members {
        let idle = member.sites[site].idle.as_ref().unwrap();
        let mut words: Vec<u32> = idle.optimizers(&member.optimizer).flat_map(|o| bytemuck::cast::<_, [u32; 12]>(*o)).collect();
        assert_eq!(words.len(), 3 * 12);
        words.resize(MAX_UPDATES as usize * scalars / 4, 0);
        expected.extend(words);
    }
    for member in &step.members {
        let rows = &member.sites[site].idle.as_ref().unwrap().rows;
        let mut words = vec![rows.len() as u32];
        words.extend(rows.iter().map(|&[row, updates]| MAX_UPDATES * row + updates - 1));
        words.resize(list_words(1 + layout.sites[site].dropped()) as usize, 0);
        expected.extend(words);
    }
    let section = Section::Idle(site);
    let found: &[u32] = bytemuck::cast_slice(&row[layout.offset(section) as usize..][..layout.size(section) as usize]);
    assert_eq!(found, expected, "of {} members", layout.members);
}

/// Compares the bytes of a section with the shader's variable of that name.
fn check_section(shader: &Checked, name: &str, layout: &RowLayout, row: &[u8], step: &Step) {
    let variable = shader.variable(name).unwrap();
    let section = section(name);
    if let Section::Idle(site) = section {
        return check_idle(shader, variable.ty, (layout, row, step), site);
    }
    if matches!(section, Section::Kept(_) | Section::Positions(_)) {
        return check_list(shader, variable.ty, (layout, row, step), section);
    }
    assert_eq!(shader.sizes[variable.ty].size, layout.size(section), "{name} for {} members", layout.members);
    let (_, fields) = shader.fields(variable.ty).unwrap();
    let start = layout.offset(section) as usize;
    for member in 0..layout.members as usize {
        let expected = expected(step, section, member);
        assert_eq!(fields.len(), expected.len(), "{name}: {fields:?}");
        for (field, offset) in &fields {
            let (_, words) =
                expected.iter().find(|(name, _)| name == field).unwrap_or_else(|| panic!("{name} has a new field {field}"));
            // `step` is a struct whose keys are an array by member; the others are arrays of structs.
            let mut at = start + offset + member * stride(shader, variable.ty).unwrap_or(0);
            if field == "keys" {
                let TypeInner::Struct { members, .. } = shader.inner(variable.ty) else { panic!("{name} is a struct") };
                at += member * stride(shader, members.last().unwrap().ty).expect("keys are an array");
            }
            let found: &[u32] = bytemuck::cast_slice(&row[at..at + 4 * words.len()]);
            assert_eq!(found, words, "{name}.{field} of member {member}");
        }
    }
}

#[test]
fn the_shaders_read_each_field_where_the_host_writes_it() {
    let mut sections = std::collections::BTreeSet::new();
    for members in [1, 2, 3, 40] {
        let layout = layout(members);
        let step = marked(&layout);
        let mut row = vec![0; layout.row_bytes() as usize];
        layout.write(&step, &mut row);
        for entry in ALL {
            let shader = checked(entry, members);
            for name in entry.sections {
                sections.insert(*name);
                check_section(&shader, name, &layout, &row, &step);
            }
        }
    }
    let all =
        ["idle", "kept_columns", "kept_rows", "optimizer", "position_columns", "position_rows", "positions", "sites", "step"];
    assert_eq!(sections.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn sections_are_aligned_for_dynamic_offsets_and_do_not_overlap() {
    for members in [1, 2, 7, 16, 17, 100] {
        let layout = layout(members);
        let of_site = |i| [Section::Site(i), Section::Kept(i), Section::Positions(i), Section::Idle(i)];
        let mut end = 0;
        for section in [Section::Step, Section::Optimizer].into_iter().chain((0..3).flat_map(of_site)) {
            let offset = layout.offset(section);
            assert!(offset.is_multiple_of(256) && offset >= end, "{section:?} of {members} members at {offset}, after {end}");
            end = offset + layout.size(section);
        }
        assert!(layout.row_bytes() >= end && layout.row_bytes().is_multiple_of(256));
        // A site without lists takes what it took, and a list that is empty has room for a binding.
        let site = |kept| RowLayout { members, sites: vec![SiteLayout { units: 70, kept, idle: false }], scopes: Vec::new() };
        let words = |kept| [Section::Kept(0), Section::Positions(0)].map(|section| site(kept).size(section) / 4 / members);
        assert_eq!((words(None), words(Some(0)), words(Some(65))), ([0, 0], [64, 128], [128, 128]));
        let lists = site(Some(65)).row_bytes() - site(None).row_bytes();
        assert_eq!(lists, 4 * members * (128 + 128));
    }
}

#[test]
#[should_panic(expected = "its plan 65 of 70")]
fn a_step_that_keeps_another_number_of_units_than_its_plan_is_refused() {
    let layout = layout(1);
    let mut step = marked(&layout);
    step.members[0].sites[1].kept.pop();
    layout.write(&step, &mut vec![0; layout.row_bytes() as usize]);
}
