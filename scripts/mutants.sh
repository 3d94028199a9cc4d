#!/bin/sh
# Breaks the crate on purpose, one small change at a time, and shows whether the tests notice.
#
#   sh scripts/with-adapter.sh sh scripts/mutants.sh [NAME ...]
#   sh scripts/mutants.sh --check    only looks whether every mutant still applies
#
# Works on a copy of the tree, so that an interrupted run leaves nothing broken behind. Every mutant is a file, a text that
# occurs in it, and what replaces it; a text that no longer occurs is an error, so the list cannot rot unnoticed. Exits 1 if a
# mutant survives that should be killed, or is killed that should survive.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
copy=$(mktemp -d "${TMPDIR:-/tmp}/thinnet-mutants.XXXXXX")
trap 'rm -rf "$copy"' EXIT
trap 'exit 130' INT TERM
wanted=" $* "
failures=0

# Only what is built and tested; the build folder is kept from mutant to mutant.
(cd "$root" && tar -cf - Cargo.toml Cargo.lock README.md src shaders tests benches examples) | (cd "$copy" && tar -xf -)
CARGO_TARGET_DIR="${MUTANTS_TARGET_DIR:-$root/target/mutants}"
# A mutant is a small change: only what it touches is compiled again.
CARGO_INCREMENTAL=1
export CARGO_TARGET_DIR CARGO_INCREMENTAL

# replace FILE OLD NEW: the first occurrence only.
replace() {
    # perl is part of every Debian and macOS; the texts go through the environment, so that nothing in them is special.
    OLD=$2 NEW=$3 perl -0777 -pi -e '
        s/\Q$ENV{OLD}\E/$ENV{NEW}/ or die "$ARGV no longer contains: $ENV{OLD}\n"
    ' "$1"
}

# mutant NAME EXPECTED TEST-FILTER FILE OLD NEW
mutant() {
    name=$1 expected=$2 filter=$3 file=$4
    case "$wanted" in "  " | " --check " | *" $name "*) ;; *) return 0 ;; esac
    if ! replace "$copy/$file" "$5" "$6"; then
        failures=$((failures + 1))
        return 0
    fi
    if [ "$wanted" = " --check " ]; then
        cp "$root/$file" "$copy/$file"
        return 0
    fi
    log="$copy/log"
    # shellcheck disable=SC2086 # several filters are several words
    if (cd "$copy" && cargo test --release --all-features --lib --test tests -- $filter) >"$log" 2>&1; then
        outcome=survived
    elif grep -q '^test result: FAILED\|panicked\|error: test failed' "$log"; then
        outcome=killed
    else
        outcome='did not build'
    fi
    killer=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | head -n 1)
    printf '%-42s %-10s %s\n' "$name" "$outcome" "${killer:+by $killer}"
    if [ "$outcome" != "$expected" ]; then
        echo "  expected: $expected"
        tail -n 20 "$log" | sed 's/^/  | /'
        failures=$((failures + 1))
    fi
    cp "$root/$file" "$copy/$file"
}

# The forward pass.
mutant scale-1 killed 'dropout:: ops::' src/network/dropout.rs '(4_294_967_296.0 / t as f64) as f32' '1.0 + 0.0 * t as f32'
mutant inverted-mask killed 'dropout:: kernels::' shaders/lib/dropout.wgsl '== 1u) | (words < vec4' '== 1u) | (words >= vec4'
mutant keep-all-ignored killed 'dropout:: kernels::' shaders/lib/dropout.wgsl 'vec4<bool>(site.keep_all == 1u)' 'vec4<bool>(false)'
mutant counter-without-site killed 'dropout:: kernels::' shaders/lib/dropout.wgsl 'at.x, draw, stream_and_site' 'at.x, draw, 0u'
mutant counter-without-pass killed 'dropout:: kernels::' shaders/lib/dropout.wgsl 'vec4<u32>(unit_quad, at.x, draw,' 'vec4<u32>(unit_quad, at.x, 0u,'
mutant rows-rounded-down killed 'division a_row_is_found' src/kernels/dropout.rs '.div_ceil(u64::from(n)) as u32' '.wrapping_div(u64::from(n)) as u32'
mutant ragged-rows-in-the-quad-kernel killed 'dropout:: ops::' src/ops.rs 'if self.units.is_multiple_of(4) { quads }' 'if self.units > 4 { quads }'
mutant one-member-for-all killed 'kernels::' shaders/lib/step.wgsl 'select(group.z, 0u, MEMBERS == 1u)' '0u'
mutant philox-one-round-short killed 'philox:: dropout::' shaders/lib/philox.wgsl 'round < 10u' 'round < 9u'
mutant shuffle-one-round-short killed 'shuffle:: kernels::' shaders/rows.wgsl 'round < 8u' 'round < 7u'
mutant matmul-operands-swapped killed 'kernels::' shaders/dense.wgsl 'v.x * a0 + v.y * a1' 'v.y * a0 + v.x * a1'
mutant matmul-transposed killed 'gradients::' src/plan/backward.rs 'self.push_rows(pixels, DenseBackwardWeight { matmul, params, x, dy, gradient });' 'self.push_rows(pixels, DenseBackwardWeight { matmul, params, x: dy, dy: x, gradient });'
mutant last-workgroup-skipped killed 'kernels::' src/kernels.rs 'invocations.div_ceil(WORKGROUP).max(1)' '(invocations / WORKGROUP).max(1)'
mutant bias-forgotten killed 'kernels::' shaders/dense.wgsl 'sums[r] = bias[weight_base + id.x];' 'sums[r] = vec4<f32>();'
mutant recurrent-mask-of-another-step killed 'kernels::' shaders/lib/recurrent.wgsl 'select(input, p.after, MASKS == 1u)' 'select(input, p.t, MASKS == 1u)'
mutant recurrent-gates-share-an-input killed 'kernels::' shaders/recurrent.wgsl '+ {g}u * p.input_plane + k]' '+ k]'
mutant recurrent-shuffle-gates-share-an-input killed 'kernels::' shaders/recurrent_shuffle.wgsl '+ {i}u * p.input_plane + k]' '+ k]'
mutant recurrent-shuffle-bias-forgotten killed 'kernels::' shaders/recurrent_shuffle.wgsl 'var sum{g}_{r} = b{g};' 'var sum{g}_{r} = vec4<f32>();'
mutant recurrent-padding-passes-nan killed 'kernels::' shaders/lib/recurrent.wgsl 'return select(d * slope, vec4<f32>(), slope == vec4<f32>());' 'return d * slope;'
mutant shuffle-bias-forgotten killed 'kernels::' shaders/dense_shuffle.wgsl 'dense_output(sum{g}_{e} + b,' 'dense_output(sum{g}_{e},'
mutant dropped-inputs-of-another-row killed 'dense_of_dropped last_layer' shaders/dense_dropped_shuffle.wgsl 'let from{t} = rows[row{t}]' 'let from{t} = row{t}'
mutant dropped-inputs-unscaled killed 'dense_of_dropped last_layer' shaders/dense_dropped_shuffle.wgsl 'k), site.scale);' 'k), 1.0);'
mutant stale-rows-in-a-sum killed 'kernels::' shaders/dense_shuffle.wgsl 'select(zero_row, row, row < rows)' 'row'
mutant mask-of-the-next-row killed 'kernels::' shaders/dense_shuffle.wgsl 'kept_bits(keep{g}, {e}u)' 'kept_bits(keep{g}, {e}u + 1u)'
mutant relu-gradient-without-scale killed 'kernels:: gradients::' shaders/lib/dense.wgsl 'activation_gradient(ACTIVATION, y, d * scale)' 'activation_gradient(ACTIVATION, y, d)'
mutant tanh-of-the-scaled-output killed 'kernels:: gradients::' shaders/lib/dense.wgsl 'activation_gradient(ACTIVATION, y / scale, d * scale)' 'activation_gradient(ACTIVATION, y, d * scale)'
mutant textures-never-filled-again killed 'textures::' src/gpu/textures.rs 'written.iter().for_each(|&index| self.0[index].fresh.store(false, Relaxed));' 'let _ = written;'
mutant textures-kept-after-an-upload killed 'textures::' src/gpu/textures.rs 'for_each(|filled| filled.fresh.store(false, Relaxed));' 'for_each(|_| ());'
mutant panels-all-from-the-first killed 'kernels::' src/kernels/texture.rs 'first * self.row_words;' '0;'
mutant tile-sums-stale-rows killed 'kernels:: gradients::' shaders/dense_tile.wgsl 'block[0], row < end)' 'block[0], row < end + 1u)'
mutant tile-bias-of-one-quarter killed 'kernels::' shaders/dense_tile.wgsl '(left[0][at] + left[1][at]) + (left[2][at] + left[3][at])' 'left[0][at] + left[1][at]'
mutant tile-parts-from-the-first-row killed 'kernels::' shaders/dense_tile.wgsl 'split * p.split_rows, p.split_rows' '0u, p.split_rows'
mutant tile-without-a-barrier killed 'shaders:: kernels::' shaders/dense_tile.wgsl 'left[local / QUADS][local % QUADS] = units;
    }
    workgroupBarrier();' 'left[local / QUADS][local % QUADS] = units;
    }'
mutant dropped-units-learn killed 'kernels:: gradients::' shaders/thinned_update.wgsl 'o, select(vec4<f32>(), g, kept));' 'o, g);'
mutant thinned-rows-in-file-order killed 'kernels:: gradients::' shaders/thinned_update.wgsl 'let row = select(a, kept_rows[member * p.row_list_stride + min(a, p.rows - 1u)], p.rows_thinned == 1u);' 'let row = a;'
mutant thinned-rows-of-the-first-member killed 'kernels:: gradients::' shaders/thinned_update.wgsl 'kept_rows[member * p.row_list_stride + ' 'kept_rows['
mutant thinned-rows-end-after-a-block killed 'kernels::' shaders/units.wgsl 'return min((group.x + 1u) * p.block_quads, p.quads);' 'return min(8u, p.quads);'
# Updates that wait for the step that reads their row.
mutant idle-updates-with-the-scalars-of-now killed 'kernels:: training::' shaders/idle_update.wgsl 'weights = moved(o1, 1u,' 'weights = moved(o0, 1u,'
mutant idle-updates-one-too-many killed 'kernels:: training::' shaders/idle_update.wgsl 'listed % MAX_UPDATES + 1u' 'listed % MAX_UPDATES + 2u'
mutant idle-rows-of-the-first-groups killed 'kernels:: training::' shaders/idle_update.wgsl 'local.y * groups.y + group.y' 'group.y'
mutant rows-wait-past-the-step-that-keeps-them killed 'training:: resume::' src/idle.rs 'next[unit])' 'next[unit] || now % 2 == 0)'
mutant rows-wait-past-the-submission killed 'training:: resume::' src/idle.rs '.is_some_and(|next| next[unit])' '.is_none_or(|next| next[unit])'
mutant rows-wait-past-max-norm killed 'training::' src/idle.rs '!reads_all && ' ''
mutant rows-wait-past-evaluations killed 'training::' src/idle.rs '|a, b| a.plan == b.plan' '|a, b| a.plan == b.plan || b.plan != 0'
mutant table-of-all-steps killed 'units:: work::' src/work.rs '(TABLE_BYTES / row_bytes) as usize' 'MAX_STEPS'
mutant rows-never-wait killed 'idle::' src/idle.rs 'if !waits || ' 'if true || '
mutant rows-wait-for-ever killed 'idle::' src/idle.rs 'if !waits || waited[unit] == MAX_UPDATES {' 'if !waits {'
mutant large-products-in-small-tiles survived 'kernels::' src/kernels/matmul.rs 'groups(64 / lanes) >= 32' 'groups(8) >= 32000'
mutant thinned-gradient-not-scattered killed 'gradients::' src/plan/backward.rs 'if thinned { self.scatter(target) } else { Ok(()) }' 'Ok(())'

# Loss and backward.
mutant loss-not-divided-by-batch killed 'kernels::' shaders/loss.wgsl '(probability - wanted) / batch' '(probability - wanted)'
mutant loss-divided-by-the-part killed 'kernels::' shaders/loss.wgsl 'f32(step.batch_rows)' 'f32(step.rows)'
mutant softmax-without-max-shift killed 'kernels::' shaders/loss.wgsl 'var sum = 0.0;' 'largest = 0.0;
    var sum = 0.0;'
mutant dy-ignored killed 'kernels:: gradients::' shaders/lib/activation.wgsl 'select(vec4<f32>(), d, f >' 'select(vec4<f32>(), vec4<f32>(1.0), f >'
mutant next-pass-in-backward killed 'kernels:: dropout::' shaders/dropout.wgsl 'drop_units(dy[member * (p.in_stride / 4u) + i], keep, site.scale)' \
    'drop_units(dy[member * (p.in_stride / 4u) + i], keeps(i, p, Site(site.threshold, site.keep_all, site.scale, site.pass_number + 1u), key, member), site.scale)'
mutant next-site-in-backward killed 'gradients::' src/plan/build.rs '..DropoutParams::new(4 * self.row_quads(units), self.stream(index), self.plan.sites[index].site)' \
    '..DropoutParams::new(4 * self.row_quads(units), self.stream(index), self.plan.sites[index].site + u32::from(!self.gradients.is_empty()))'
mutant dropout-left-out-of-backward killed 'gradients::' src/plan/backward.rs 'self.push(DropoutBackward { params, site, samples, dy: dy.tensor, dx: dx.tensor });' 'let _ = (params, site, samples);'

# Activations, losses on targets, optimizers and norms.
mutant selu-without-lambda killed 'kernels::' shaders/lib/activation.wgsl 'LAMBDA_ALPHA * power_less_one(z), LAMBDA * z,' 'LAMBDA_ALPHA * power_less_one(z), z,'
mutant selu-near-zero-cancels killed 'kernels::' shaders/lib/activation.wgsl 'b > vec4<f32>(-0.25)' 'b > vec4<f32>(0.25)'
mutant leaky-slope-in-backward-forgotten killed 'kernels::' shaders/lib/activation.wgsl 'select(SLOPE * d, d, f' 'select(vec4<f32>(), d, f'
mutant gelu-bend-forgotten killed 'kernels::' shaders/activation.wgsl 'share + share * (1.0 - share)' 'share + 0.0 * share * (1.0 - share)'
mutant variance-without-a-bound killed 'kernels::' shaders/gaussian.wgsl 'return select(s, LOWEST, s < LOWEST);' 'return s;'
mutant gradient-below-the-bound killed 'kernels::' shaders/gaussian.wgsl '/ terms, 0.0, s < LOWEST)' '/ terms, 0.0, false)'
mutant deviations-shifted-by-the-mean killed 'runs::' src/data/preprocessing.rs '|value, _, deviation| value * deviation)' '|value, mean, deviation| value * deviation + mean)'
mutant prior-without-the-scale killed 'prior::' src/optimizer/prior.rs '_ => f64::from(dropout.keep.scale()),' '_ => dropout.keep.get(),'
mutant logistic-loss-by-log killed 'kernels::' shaders/targets.wgsl 'log_one_plus(exp(-abs(logit)))' 'log(1.0 + exp(-abs(logit)))'
mutant targets-of-the-batch-row killed 'kernels::' shaders/targets.wgsl 'let at = rows[member * p.rows_stride + row] * p.targets_row;' 'let at = (row + 0u * rows[member * p.rows_stride]) * p.targets_row;'
mutant squared-error-not-a-mean-of-outputs killed 'kernels::' shaders/targets.wgsl '2.0 * (logits[z + c] - wanted(goal, c)) / count' '2.0 * (logits[z + c] - wanted(goal, c)) / f32(step.batch_rows)'
mutant targets-divided-by-the-part killed 'kernels::' shaders/targets.wgsl 'f32(p.classes) * f32(step.batch_rows)' 'f32(p.classes) * f32(step.rows)'
mutant hit-of-one-output killed 'kernels::' shaders/targets.wgsl 'right = right && ' 'right = '
mutant nesterov-forgotten killed 'kernels::' shaders/lib/optimizer.wgsl 'o.nesterov == 1u' 'o.nesterov == 2u'
mutant decoupled-decay-forgotten killed 'kernels::' shaders/lib/optimizer.wgsl 'old.w - o.decoupled_decay * old.w' 'old.w'
mutant rmsprop-momentum-forgotten killed 'kernels::' shaders/lib/optimizer.wgsl 'o.beta1 * old.m + g / (' 'g / ('
mutant sum-not-overwritten killed 'kernels::' shaders/gradients.wgsl 'step.accumulated == 0u' 'step.accumulated == 1000000u'
mutant norm-of-half-the-gradients killed 'kernels::' shaders/gradients.wgsl 'min((group.x + 1u) * range, p.quads)' 'min((group.x + 1u) * range, p.quads / 2u)'
mutant clip-without-the-small-number killed 'kernels::' shaders/clip.wgsl ')) + 1e-6;' '));'
mutant clip-lets-nan-pass killed 'kernels::' shaders/clip.wgsl 'limit < norm || nan' 'limit < norm'
mutant max-norm-scales-up killed 'kernels::' shaders/max_norm.wgsl 'norm > limit' 'norm > 0.0'
mutant max-norm-of-a-spare-workgroup killed 'kernels::' shaders/max_norm.wgsl 'row < p.rows' 'row < p.rows + 1u'
mutant reference-gelu-without-its-bend killed 'reference::' src/reference/functions.rs '(1.0 + tanh) / 2.0 + z' '(1.0 + tanh) / 2.0 + 0.0 * z'
mutant reference-vanilla-forgotten killed 'reference::' src/reference/masks.rs 'dropout.eval_scale()' '1.0f32'

# Per-batch unit dropout.
mutant exact-k-is-one-short killed 'units::' src/rng.rs 'rank <= last' 'rank < last'
mutant exact-k-by-the-unit-alone killed 'units::' src/rng.rs 'u64::from(word) << 32 | u64::from(unit)' 'u64::from(word) * 0 | u64::from(unit)'
mutant units-of-the-epoch killed 'units::' src/step.rs 'pass: draw.update, sample: 0' 'pass: draw.epoch, sample: 0'
mutant units-scaled-by-the-rate killed 'units::' src/network/dropout.rs 'k => (f64::from(n) / f64::from(k)) as f32' '_ => self.keep.scale()'
mutant list-of-the-first-member killed 'units:: step_table::' src/step.rs '4 * i * list_words(kept)' '0 * i * list_words(kept)'
mutant dropped-rows-have-gradients killed 'kernels::' shaders/units.wgsl 'let kept = (column != vec4<u32>(DROPPED)) & (columns < vec4<u32>(p.columns)) & vec4<bool>(row != DROPPED);' \
    'let kept = (column != vec4<u32>(DROPPED)) & (columns < vec4<u32>(p.columns));'
mutant padding-of-the-compact-matrix killed 'kernels::' shaders/units.wgsl 'select(vec4<u32>(), words, inside)' 'words'
mutant reference-units-of-the-epoch killed 'reference::' src/reference/masks.rs 'pass: update, sample: 0' 'pass: update * 0 + pass, sample: 0'
mutant units-counted-from-each-epoch killed 'trainer::' src/trainer/schedule.rs 'epoch.wrapping_mul(self.updates_per_epoch())' '(epoch * 0)'
mutant folded-units killed 'units::' src/model/fold.rs '&& dropout.mode == DropoutMode::Vanilla' '&& dropout.keep.get() > 0.0'

# What a plan puts together.
mutant accumulates-into-the-gradient killed 'wiring:: gradients:: learning::' src/plan/train.rs "            Gradient::Accumulate | Gradient::Accumulated => self.accumulate()?," "            Gradient::Accumulate | Gradient::Accumulated => { self.accumulate()?; self.named(\"gradients\") }"
mutant clip-after-the-update killed 'wiring:: learning::' src/plan/train.rs 'if training.clip_norm {
            self.clip(gradient)?;
        }
        self.update(training.update, gradient)?;' 'self.update(training.update, gradient)?;
        if training.clip_norm {
            self.clip(gradient)?;
        }'
mutant max-norm-before-the-update killed 'wiring:: learning::' src/plan/train.rs 'self.update(training.update, gradient)?;
        if training.max_norm {
            self.max_norm()?;
        }' 'if training.max_norm {
            self.max_norm()?;
        }
        self.update(training.update, gradient)?;'
mutant max-norm-forgets-the-last-layer killed 'wiring:: learning::' src/plan/train.rs 'let into_units = |p: &Parameter| p.matrix && !' 'let into_units = |p: &Parameter| p.matrix && p.layer + 1 < layers.len() && !'
mutant clip-by-the-first-part killed 'wiring::' src/plan/train.rs 'part(partials, i * PARTIALS, PARTIALS)' 'part(partials, 0 * i, PARTIALS)'
mutant parts-without-the-rest killed 'wiring::' src/plan/train.rs 'whole.len.div_ceil(chunk)' 'whole.len / chunk'
mutant parts-as-if-for-one-member killed 'wiring::' src/plan/train.rs 'u64::from(self.plan.options.members - 1)' 'u64::from(self.plan.options.members - self.plan.options.members)'
mutant evaluation-without-scale killed 'wiring:: evaluation::' src/plan/forward.rs 'if !drawn && dropout.eval_scale() != 1.0 =>' 'if false && !drawn =>'
mutant scale-in-training killed 'wiring:: gradients::' src/plan/forward.rs 'Layer::Dropout(dropout) if drawn && self.drops(dropout) => pieces.push(Piece::Dropout(self.plan_site(layer)?)),' 'Layer::Dropout(dropout) if drawn && self.drops(dropout) => {
                    pieces.push(Piece::Dropout(self.plan_site(layer)?));
                    pieces.push(Piece::Scale(dropout.eval_scale()));
                }'
mutant vanilla-scaled-in-training killed 'gradients:: learning::' src/network/dropout.rs 'DropoutMode::Vanilla => 1.0,' 'DropoutMode::Vanilla => self.keep.scale(),'
mutant gelu-derivative-from-the-output killed 'gradients::' src/plan/backward.rs 'GeluBackward { params, dy: dy_tensor, x: y, dx: dx.tensor }' 'GeluBackward { params, dy: dy_tensor, x: dy_tensor, dx: dx.tensor }'
mutant labels-instead-of-targets killed 'gradients:: wiring:: learning::' src/plan/batch.rs '_ => u64::from(self.network.targets()?).next_multiple_of(4),' '_ => u64::from(self.network.targets()?),'

# The loop.
mutant metrics-not-reset killed 'kernels:: training::' shaders/metrics.wgsl 'if (position > 0u)' 'if (position >= 0u)'
mutant adam-without-bias-correction killed 'learning::' src/optimizer.rs 'lr / (1.0 - libm::pow(beta1, t))' 'lr'
mutant last-batch-dropped killed 'training::' src/trainer/schedule.rs 'if self.position == self.rows {' 'if self.position + self.batch > self.rows {'
mutant masks-in-evaluation killed 'gradients:: training::' src/plan/forward.rs 'let drawn = self.plan.options.mode != Mode::Eval;' 'let drawn = true;'
mutant same-pass-every-epoch killed 'training:: trainer::' src/trainer/members.rs '[step.epoch, shared_pass]' '[0, shared_pass]'
mutant members-share-a-key killed 'kernels:: training::' shaders/dropout.wgsl 'let key = step.keys[member].xy;' 'let key = step.keys[0].xy;'

# Monte-Carlo draws. Each is the slip that the sentence above it says; the tests of kernels would see many of them as differences
# from the twins, so the filter is what a user would notice, wherever that is enough.
# Both draws of a pair have the same words: pairs of equal masks, which nearly double the variance of a mean instead of lowering it.
mutant antithetic-words-not-complemented killed 'kernels::' shaders/lib/dropout.wgsl 'words ^= vec4<u32>(0u - (at.y & 1u));' 'words ^= vec4<u32>(at.y & 0u);'
mutant twin-of-antithetic-words-not-complemented killed 'monte_carlo::masks' src/mask_rule.rs 'site.keeps(word ^ flip)' 'site.keeps(word ^ flip & 0)'
# The Feistel walk alone does not make all places equally likely where there are few draws: the mean is biased.
mutant stratum-without-rotation killed 'monte_carlo::masks' src/mask_rule.rs 'let sum = x + turn;' 'let sum = x + 0 * turn;'
# The units of a quad, or all of them, go through the strata together: nothing but their joint distribution shows it.
mutant one-permutation-for-a-quad killed 'monte_carlo::masks' src/mask_rule.rs 'seeds[i])) << 32' 'seeds[i & 0])) << 32'
mutant one-permutation-for-all-samples killed 'monte_carlo::masks' src/mask_rule.rs '([quad, sample, 0, at], key)' '([quad, 0, 0, at], key)'
# Strata of T - 1 draws instead of T: every unit is kept a little too seldom.
mutant strata-of-one-draw-less killed 'monte_carlo::' src/monte_carlo.rs 'threshold * u64::from(self.draws)' 'threshold * u64::from(self.draws - 1)'
# The draw of a row is that of the row next to it, or of the next batch's first.
mutant draw-of-the-next-row killed 'monte_carlo::replays' shaders/lib/dropout.wgsl 'samples[base + 2u * row + 1u]' 'samples[base + 2u * (row ^ 1u) + 1u]'
mutant draw-of-the-batch killed 'monte_carlo::replays' shaders/draws.wgsl '= epoch + r / inputs;' '= epoch + r / inputs * 0u;'
mutant replay-of-the-next-draw killed 'monte_carlo::replays' src/monte_carlo/run.rs 'draw..draw + 1, draw, ' 'draw + 1..draw + 2, draw + 1, '
# One network for all inputs, but each input has a mask of its own.
mutant one-network-with-samples-of-its-own killed 'monte_carlo::' shaders/draws.wgsl 'select(ids[input], 0u, p.one_mask == 1u)' 'select(ids[input], 0u, p.one_mask == 2u)'
# Normal numbers in place of masks of weights: with the factor of kept weights for a deviation, with the words of masks, the outputs
# 2 and 3 of a quad with the words of 0 and 1, and both draws of a pair on one side of the mean.
mutant gaussian-weights-scaled-as-masks killed 'monte_carlo::weights' src/monte_carlo/run.rs ' || self.options.gaussian_weights && weights::drops_weights(given)' ''
mutant gaussian-weights-by-words-of-masks killed 'monte_carlo::weights' src/plan/build.rs ' || self.draws_gaussian_weights(index)' ''
mutant gaussian-weights-share-words killed 'kernels::' shaders/drop_connect.wgsl 'vec4<u32>(2u * output_quad + 1u, at.x' 'vec4<u32>(2u * output_quad, at.x'
mutant gaussian-weights-not-opposite killed 'kernels::' shaders/drop_connect.wgsl 'select(n, -n,' 'select(n, n,'
# W x times x in place of W x squared.
mutant gaussian-weights-without-squares killed 'kernels::' shaders/drop_connect.wgsl 'dot(product_{e}, product_{e})' 'dot(product_{e}, of_x)'
# What is added up: the batches before are forgotten, or a pair that two batches share.
mutant merge-forgets-the-sums-before killed 'monte_carlo::' shaders/draws.wgsl 'sum += state[at + 1u];' ''
mutant merge-forgets-the-wins-before killed 'monte_carlo::' shaders/draws.wgsl 'wins += state[at + 4u];' ''
mutant pairs-begin-anew-in-every-batch killed 'monte_carlo::' shaders/draws.wgsl 'var odd = accumulated % 2u == 1u;' 'var odd = false;'
mutant pairs-without-what-is-left killed 'monte_carlo::' shaders/draws.wgsl 'before = state[at + 5u];' ''
mutant sums-around-zero killed 'monte_carlo::' shaders/draws.wgsl 'var center = drawn[input * p.width + column];' 'var center = 0.0;'
mutant kept-draws-in-the-first-place killed 'monte_carlo::' shaders/draws.wgsl 'let draw = accumulated + r / inputs;' 'let draw = accumulated * 0u + r / inputs;'
mutant entropy-without-its-log-sum killed 'monte_carlo::' shaders/draws.wgsl 'log(sum) + below;' 'below;'
mutant error-of-pairs-as-of-singles killed 'monte_carlo::' src/monte_carlo/run.rs 'let pairs = self.rule == MaskRule::Antithetic;' 'let pairs = false;'
mutant stops-before-the-error-is-reached killed 'monte_carlo::' src/monte_carlo/run.rs 'sums.largest_standard_error() <= se)' 'sums.largest_standard_error() <= 2.0 * se)'
# The dropout layer belongs to what is computed once, and drops nothing there.
mutant prefix-one-layer-too-long killed 'monte_carlo::' src/monte_carlo.rs 'network.layers.iter().position(has_site) else' 'network.layers.iter().position(has_site).map(|cut| cut + 1) else'
# Vanilla draws are not scaled, exactly k of n units by n / k instead of 1 / keep_prob.
mutant vanilla-scaled-in-draws killed 'monte_carlo::' src/monte_carlo.rs '_ => dropout.train_scale(units),' '_ => dropout.keep.scale(),'
mutant exact-k-scaled-by-the-rate killed 'monte_carlo::' src/monte_carlo.rs 'Dropout { mode: DropoutMode::Units, ..*dropout }.train_scale(units)' 'dropout.train_scale(units)'
# Thinned layers: a draw that keeps more than there is room for loses a unit, or the spare room is filled with unit 0.
mutant units-without-room-are-lost killed 'monte_carlo::' src/monte_carlo/run.rs 'if kept.len() > room {
                return None;
            }' 'kept.truncate(room);'
mutant spare-room-is-unit-zero killed 'monte_carlo::' src/monte_carlo/run.rs 'kept.resize(room, DROPPED);' 'kept.resize(room, 0);'
mutant thinned-from-the-first-input-on survived 'monte_carlo::' src/monte_carlo/thin.rs 'const INPUTS: u32 = 128;' 'const INPUTS: u32 = 1;'
mutant masks-weigh-the-same killed 'monte_carlo::exact' src/monte_carlo/average.rs 'keep.powi(kept as i32) * (1.0 - keep).powi((units - kept) as i32)' '0.5f64.powi(units as i32) * (keep + 1.0 - keep)'

# Feature maps: the window, the layouts, what is dropped as one.
mutant unfold-forgets-the-padding killed 'kernels::' shaders/unfold.wgsl 'place.y * p.stride_height - p.padding_height' 'place.y * p.stride_height'
mutant fold-ignores-the-stride killed 'kernels::' shaders/unfold.wgsl 'select(0xffffffffu, place, place * stride == distance)' 'place'
mutant last-row-of-a-run-is-left-out killed 'kernels::' shaders/unfold.wgsl 'row < min(rows, run * RUN + RUN)' 'row + 1u < min(rows, run * RUN + RUN)'
mutant weights-of-a-convolution-are-not-turned killed 'gradient_check::' src/model/transfer.rs '[_, channels, height, width] if parameter.matrix => transposed(values, channels, height * width).into(),' '[_, channels, height, width] if parameter.matrix && channels * height * width == 0 => values.into(),'
mutant unfolded-again-is-forgotten killed 'gradient_check::' src/plan/maps.rs 'if !kept {' 'if false && !kept {'
mutant rectified-twice-or-never killed 'gradient_check::' src/plan/forward.rs 'self.activation(&format!("rectified.{number}"), conv.activation, largest, &mut trace)?' 'largest'
mutant channels-drop-alone killed 'maps:: network::' src/network/unit.rs 'Self::Spatial1d | Self::Spatial2d | Self::Spatial3d => axis > 0,' 'Self::Spatial1d | Self::Spatial2d | Self::Spatial3d => axis > 1,'
mutant blocks-scaled-by-the-nominal-rate killed 'gradient_check:: maps::' src/network/blocks.rs 'let places = |i: u32, extent: u32| i.min(extent - size) - (i + 1).saturating_sub(size) + 1;' 'let places = |i: u32, extent: u32| size.min(i + extent);'
mutant batch-masks-of-the-epoch killed 'gradient_check:: maps:: paths::' src/step.rs 'DropoutMode::Batch => Self::rate(dropout, draw.map, draw.update),' 'DropoutMode::Batch => Self::rate(dropout, draw.map, draw.epoch + 1),'
mutant batch-masks-from-the-stream-of-samples killed 'gradient_check::' src/plan/build.rs 'if self.has_one_mask(index) => Stream::BatchMask,' 'if self.has_one_mask(index) => Stream::TrainingMask,'
# Residual blocks and paths.
mutant skip-without-gradient killed 'gradient_check::' src/plan/residual.rs 'self.add(residual.path, false, (skip, branch), dx);' 'self.add(residual.path, false, (branch, branch), dx);'
mutant branch-not-scaled killed 'gradient_check::' src/plan/residual.rs 'self.add(path, true, (skip, branch), y);' 'self.add(path, false, (skip, branch), y);'
mutant inner-paths-of-all-samples killed 'gradient_check:: paths::' src/plan.rs 'let samples = within.map_or_else(&samples, |around| kept[around].clone());' 'let samples = within.map_or_else(&samples, |around| if kept[around].is_empty() { samples() } else { samples() });'
mutant branch-with-the-samples-of-the-batch killed 'gradient_check::' src/plan/residual.rs '(self.path, self.samples) = (Some(path.site), path.samples);
        Ok(compact)' 'self.path = Some(path.site);
        Ok(compact)'
# Normalisation.
mutant running-variance-of-the-population killed 'kernels::' shaders/batch_norm_statistics.wgsl 'square / (n - 1.0) - old_var' 'square / n - old_var'
mutant batch-norm-by-the-batch-in-evaluation killed 'evaluation:: monte_carlo:: checkpoint:: pytorch::' src/plan/norm.rs 'if !matches!(self.plan.options.mode, Mode::Train(_)) {' 'if false {'

# Sequences, other noise and other rates.
mutant sequences-all-of-one-length killed 'gradient_check:: kernels::' shaders/lib/recurrent.wgsl 'let length = lengths[member * p.lengths_stride + sample];' 'let length = p.steps;'
mutant both-directions-read-forward killed 'gradient_check::' src/plan/recurrent.rs 'for t in in_order(steps, reverse) {' 'for t in in_order(steps, false) {'
mutant recurrent-weight-from-the-input-gradient killed 'gradient_check::' src/plan/recurrent.rs 'let dhidden = if cell == Cell::Gru { plane(planes.hidden, size.gates_words()) } else { gates };' 'let dhidden = gates;'
mutant gates-not-apart killed 'gradient_check:: pytorch::' src/network/parameter.rs 'gates => gates * (n / gates).next_multiple_of(4),' 'gates => n + gates - gates,'
mutant one-direction-alone-learns killed 'gradient_check::' src/plan/recurrent.rs 'Some(other) => self.sum(other, dx)?,' 'Some(_) => dx,'
mutant gradient-of-dropped-weights killed 'gradient_check::' src/plan/backward.rs 'self.drop_weight_gradient(index, target);' 'let _ = index;'
mutant weights-dropped-by-column killed 'kernels:: gradient_check::' shaders/drop_connect.wgsl 'at, row * p.inputs + 4u * quad)' 'at, 4u * quad)'
mutant untied-gates-of-one-input killed 'kernels:: gradient_check::' shaders/recurrent_weight.wgsl 'gate * p.input_plane + quad' 'quad'
mutant learned-rate-stands-still killed 'gradient_check::' src/plan/forward.rs 'Trace::MapDropout(dropout) => dropout.is_learned(),' 'Trace::MapDropout(_) => false,'
mutant noise-of-draws-is-that-of-training killed 'monte_carlo:: variants::' src/plan/build.rs 'if self.is_continuous(index) || self.draws_gaussian_weights(index) => Stream::MonteCarloNoise,' 'if self.is_continuous(index) || self.draws_gaussian_weights(index) => Stream::ContinuousNoise,'
mutant scheduled-rate-stays killed 'gradient_check:: variants::' src/step.rs 'let dropout = &dropout.at(draw.update);' 'let dropout = &dropout.at(0);'

# The harness.
mutant comparison-always-true killed 'compare:: kernels::' src/compare.rs '(!wrong.is_empty()).then(' '(wrong.len() > usize::MAX - 1).then('

# What an adapter ends, and what data are of another kind.
mutant loops-longer-than-the-adapter killed 'long_loops::' src/plan/plans.rs 'if needed > u64::from(self.caps.max_iterations) {' 'if needed > u64::from(u32::MAX) {'
mutant one-loop-over-classes-counted killed 'long_loops::' src/kernels/loss.rs '3 * u64::from(self.params.classes / 4 + 2)' 'u64::from(self.params.classes / 4 + 2)'
mutant norm-past-f32-is-clipped killed 'going_on::' shaders/clip.wgsl '>= 0x7f800000u' '> 0x7f800000u'
mutant bytes-for-a-model-of-numbers killed 'runs::pixels' src/data/file/scale.rs 'problem.map_or(Ok(()), |problem| Err(bad(path, problem)))' 'problem.map_or(Ok(()), |_| Ok(()))'
mutant name-of-the-first-row killed 'data::names' src/data.rs 'names[row as usize].clone()' 'names[0].clone()'

# Going on from a checkpoint.
mutant moments-begin-anew killed 'resume::' src/trainer/resume.rs 'upload(&trainer.executor, TRAIN, 0, &state.network, ending, values)?;' 'let _ = (ending, values);'
mutant epoch-begins-anew killed 'resume::' src/trainer/resume.rs '(schedule.epoch, schedule.position, schedule.evaluation) = (epoch, position, evaluation);' '(schedule.epoch, schedule.position, schedule.evaluation) = (epoch, 0 * position, evaluation.and(None));'
mutant updates-begin-anew killed 'resume::' src/trainer/resume.rs 'schedule.updates = schedule.updates_before(epoch - first, position);' 'schedule.updates = 0;'
mutant losses-begin-anew killed 'resume::' src/trainer/resume.rs 'words[slot] = *sum;' 'words[slot] = 0 * *sum;'
mutant samples-may-differ killed 'resume::' src/data/fingerprint.rs 'hash.all(data.inputs.samples(), |sample| sample);' 'hash.all(&[0u32], |sample| sample);'
mutant patience-begins-anew killed 'resume::' src/trainer/resume.rs '.map(|(epoch, model)| Best { epoch, model });' '.map(|(epoch, model)| Best { epoch, model }).and(None);'
mutant best-epoch-of-an-earlier-patience killed 'runs::resumed' src/cli/train/run.rs 'self.trainer.best().filter(|_| self.config.train.patience.is_some())' 'self.trainer.best()'
mutant bytes-at-another-scale-are-the-same killed 'resume::other' src/data/fingerprint.rs 'hash.pair(scale, data.rows());' 'hash.pair(scale.min(0), data.rows());'

# What another layer has left between W and b counts as gradient.
mutant gaps-in-sums killed 'the_norm_of_a_gradient sum_splits' shaders/splits.wgsl 'if (!(of_weight || of_bias))' 'if (i >= p.quads)'

# Runs of a sweep that are trained together.
mutant rates-of-the-first-run killed 'together::' src/trainer/members.rs 'plan.site_steps(&member.network' 'plan.site_steps(&self.members[0].network'
mutant seed-of-the-first-run killed 'together::' src/trainer/members.rs 'let key = rng::key(member.seed);' 'let key = rng::key(self.members[0].seed);'
mutant losses-of-the-first-run killed 'together::' src/trainer/members.rs 'snapshot.sums(plan, m, slot)' 'snapshot.sums(plan, 0 * m, slot)'
mutant weights-of-the-first-run-alone killed 'together::' src/trainer/members.rs '(0..).zip(&trainer.members)' '(0..).zip(&trainer.members[..1])'
mutant one-run-that-diverges-ends-all killed 'together::' src/trainer/members.rs '.all(|member| member.diverged)' '.any(|member| member.diverged)'
mutant rates-of-runs-do-not-vary killed 'together::' src/trainer/planned.rs '(members, members > 1), data' '(members, false), data'
mutant other-kernels-together killed 'together::' src/trainer/planned.rs 'if kernels(&plans) != kernels(&alone) {' 'if kernels(&plans).len() != kernels(&alone).len() {'
mutant any-dropout-together killed 'together::' src/sweep/fit.rs 'if !network.walk().iter().all(simple) {' 'if !network.walk().iter().any(simple) {'
mutant large-networks-together killed 'together::' src/sweep/fit.rs '.clamp(1, MOST)' '.clamp(MOST, MOST)'

# A model that stays on its device.
mutant answers-from-what-was-made-for-others killed 'predictor:: again::' src/model/predictor.rs '.filter(|(of, _)| *of == source)' '.filter(|(of, _)| of.rows == source.rows)'
mutant nothing-is-kept-for-the-next-call killed 'predictor::' src/model/predictor.rs 'let (_, executor) = self.0.insert((source, executor));' 'let source = Source { rows: 0, ..source };
        let (_, executor) = self.0.insert((source, executor));'

# What a user's own check would say of a device that computes otherwise.
mutant check-of-short-philox killed 'check::' shaders/lib/philox.wgsl 'round < 10u' 'round < 9u'
mutant check-of-inverted-masks killed 'check::' shaders/lib/dropout.wgsl '== 1u) | (words < vec4' '== 1u) | (words >= vec4'
mutant check-of-a-forgotten-bias killed 'check::' shaders/dense_shuffle.wgsl 'dense_output(sum{g}_{e} + b,' 'dense_output(sum{g}_{e},'
mutant check-of-lost-moments killed 'check::' src/trainer/resume.rs 'upload(&trainer.executor, TRAIN, 0, &state.network, ending, values)?;' 'let _ = (ending, values);'
mutant check-of-rows-that-wait-too-long killed 'check::' src/idle.rs '.is_some_and(|next| next[unit])' '.is_none_or(|next| next[unit])'
mutant check-of-one-seed-for-all killed 'check::' src/trainer/members.rs 'let key = rng::key(member.seed);' 'let key = rng::key(self.members[0].seed);'
mutant check-of-the-first-draw-again killed 'check::' src/monte_carlo/run.rs 'draw..draw + 1, draw, |_| {}' '0..1, 0 * draw, |_| {}'
# A check of masks that looks at none.
mutant check-of-no-mask killed 'check::' src/check/masks.rs 'if found != keep.keeps(' 'if false && found != keep.keeps('

# What an audit says of masks of other frameworks.
mutant audit-that-never-fails killed 'audit::' src/audit.rs 'p < LEVEL, advice' 'p < 0.0, advice'
mutant audit-that-forgets-how-many-it-looks-at killed 'audit::' src/audit/pairs.rs '(joint.p_value() * pairs)' '(joint.p_value())'

# What was off when a row was seen.
mutant explain-of-another-epoch killed 'explain' src/explain.rs 'pass: epoch, update,' 'pass: update, update,'
mutant explain-of-the-batch-before killed 'explain::the_batch_is' src/trainer/schedule.rs 'let first = position - position % batch_rows;' 'let first = position - position % (batch_rows + 1);'

# Must survive: masks, gradients and weights do not depend on the size of a workgroup.
mutant another-workgroup-size survived '' src/kernels.rs 'pub const WORKGROUP: u32 = 64;' 'pub const WORKGROUP: u32 = 128;'

if [ "$failures" -gt 0 ]; then
    echo "$failures unexpected"
    exit 1
fi
