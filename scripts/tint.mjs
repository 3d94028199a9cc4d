// Compiles DIR/ENTRYPOINT-*.wgsl with Tint under WebGPU's default limits: node tint.mjs DIR. Run by tint.sh.
import fs from 'node:fs';
import path from 'node:path';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);

// The null backend compiles for no driver at all, and its limits are the ones that every WebGPU device has.
const gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
const requiredFeatures = ['subgroups', 'shader-f16'].filter((feature) => adapter.features.has(feature));
const device = await adapter.requestDevice({ requiredFeatures });

// What Tint finds wrong with an entry point, '' if nothing.
async function problem(code, entryPoint) {
  // Tint asks for this line, naga 30 does not know it.
  const subgroups = /\bsubgroup[A-Z]\w*\s*\(|\bsubgroup_(size|invocation_id)\b/.test(code);
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code: (subgroups ? 'enable subgroups;\n' : '') + code });
  const info = await module.getCompilationInfo();
  device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint } });
  const error = await device.popErrorScope();
  const messages = info.messages.filter((m) => m.type === 'error').map((m) => `line ${m.lineNum - subgroups}: ${m.message}`);
  return messages.join('\n') || (error ? error.message : '');
}

// That the compiler rejects what it is here for: otherwise its silence means nothing.
const kernel = (body, declarations = '') => `
${declarations}
@compute @workgroup_size(64) fn f(@builtin(local_invocation_index) i: u32) { ${body} }`;
const defects = {
  'a barrier in a branch': kernel('if (i > 3u) { workgroupBarrier(); }'),
  'more than 16 KiB of workgroup memory': kernel('w[i] = 1u;', 'var<workgroup> w: array<u32, 4097>;'),
  'more than 256 invocations': kernel('').replace('(64)', '(257)'),
};
let failures = 0;
for (const [defect, code] of Object.entries(defects)) {
  if (!(await problem(code, 'f'))) {
    console.log(`tint: ${defect} is not found`);
    failures++;
  }
}
if (await problem(kernel('w[i] = 1u;', 'var<workgroup> w: array<u32, 4096>;'), 'f')) {
  console.log('tint: a kernel without a defect is rejected');
  failures++;
}

const folder = process.argv[2];
const files = fs.readdirSync(folder).filter((file) => file.endsWith('.wgsl'));
for (const file of files) {
  const code = fs.readFileSync(path.join(folder, file), 'utf8');
  const found = await problem(code, file.split('-')[0]);
  if (found) {
    console.log(`${file}: ${found}`);
    failures++;
  }
}
console.log(`tint: ${files.length} modules, ${failures} failures`);
// Dawn keeps the process alive otherwise.
process.exit(failures > 0 || files.length === 0 ? 1 : 0);
