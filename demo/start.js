// `npm start`: from a fresh clone to a running demonstration.
import { parseArgs } from 'node:util';
import { build, install, requireNode } from './prepare.js';

const help = `The whole of Coatcheck on this machine: several replicas behind a balancer that never sticks.

  npm start -- [--port 8080] [--replicas 3] [--store redis://127.0.0.1:6379]

  --port P       public port; if it is taken, the next free one       default 8080
  --replicas N   processes of the gateway, 1 to 9                     default 3
  --store URL    a Redis or Valkey of yours                           default a private one
  --help         this text

The private store is valkey-server or redis-server from PATH, else Valkey as WebAssembly from an npm package.
COATCHECK_EMBEDDED_STORE=wasm chooses the last.`;

const readOptions = () => {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '8080' },
      replicas: { type: 'string', default: '3' },
      store: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const whole = (name, least, most) => {
    const value = Number(values[name]);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new TypeError(
      `--${name} must be a whole number from ${least} to ${most}; it was "${values[name]}"`,
    );
  };
  return {
    port: whole('port', 1, 65535),
    replicas: whole('replicas', 1, 9),
    storeUrl: values.store,
    help: values.help,
  };
};

requireNode();
let options;
try {
  options = readOptions();
} catch (error) {
  if (!(error instanceof TypeError)) throw error;
  console.error(`${error.message}\n\n${help}`);
  process.exit(2);
}
if (options.help) {
  console.log(help);
} else {
  install();
  build();
  const { register } = await import('tsx/esm/api');
  register();
  const { demonstrate } = await import('./demonstration.ts');
  await demonstrate(options);
}
