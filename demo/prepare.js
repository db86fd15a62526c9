// Makes a fresh clone ready to run: installs and builds what is missing or out of date. Plain JavaScript without
// dependencies, for there are none yet.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const minimumNode = [20, 19];

const changedMs = (path) => (existsSync(path) ? statSync(path).mtimeMs : 0);

const newestMs = (directory) =>
  Math.max(
    ...readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => changedMs(join(entry.parentPath ?? entry.path, entry.name))),
  );

/** Ends the process with one clear line where Node is too old. */
export const requireNode = () => {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > minimumNode[0] || (major === minimumNode[0] && minor >= minimumNode[1])) return;
  console.error(
    `Coatcheck needs Node.js ${minimumNode.join('.')} or newer; this is ${process.versions.node}.`,
  );
  process.exit(1);
};

/** Runs npm in the repository. What it says is shown only if it fails. */
const npm = (what, args) => {
  const beganMs = Date.now();
  process.stdout.write(`${what} … `);
  const run = spawnSync('npm', args, { cwd: root, encoding: 'utf8', shell: process.platform === 'win32' });
  if (run.status === 0) return console.log(`${((Date.now() - beganMs) / 1000).toFixed(1)} s`);
  console.log(`failed: npm ${args.join(' ')}`);
  console.error(`${run.stdout ?? ''}${run.stderr ?? ''}${run.error?.message ?? ''}`.trimEnd());
  process.exit(1);
};

/**
 * Installs what the lock file says where packages are missing or older than it. Not by `npm ci`: that refuses a lock file that
 * lacks optional packages for other platforms, which not every registry has. No package's own script runs.
 */
export const install = () => {
  const installed = changedMs(join(root, 'node_modules', '.package-lock.json'));
  if (installed >= changedMs(join(root, 'package-lock.json'))) return;
  npm('Installing packages', ['install', '--no-save', '--ignore-scripts']);
};

/** `npm run build` where the result is missing or older than its source. */
export const build = () => {
  const built = changedMs(join(root, 'dist', 'cli.js'));
  if (built >= newestMs(join(root, 'src')) && built >= changedMs(join(root, 'tsconfig.build.json'))) return;
  npm('Building', ['run', 'build']);
};
