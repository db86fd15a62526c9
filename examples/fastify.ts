/**
 * A Fastify app that signs people in and calls two systems on their behalf, each with its own token:
 *
 *   node --import tsx examples/fastify.ts coatcheck.yaml
 *
 * The configuration is the gateway's; `docs/coatcheck.yaml` is one to start from.
 */
import { createCoatcheck, readConfig } from 'coatcheck';
import { fastifyCoatcheck } from 'coatcheck/fastify';
import fastify, { type FastifyInstance } from 'fastify';

/** Builds the app of one configuration file. */
export async function createApp(configFile: string): Promise<FastifyInstance> {
  const coatcheck = await createCoatcheck(readConfig(configFile, process.env));
  const app = fastify();
  await app.register(fastifyCoatcheck, { coatcheck });
  app.addHook('onClose', () => coatcheck.close());

  // A page: whoever is not signed in is sent to sign in, and comes back here.
  app.get('/', async (request) => {
    const { user } = await request.coatcheck.requireSession();
    return { hello: user.claims.get('name') ?? user.subject };
  });

  // Calls a system with this person's token at the provider that the system trusts.
  app.get('/notebook-entries', async (request) => {
    const accessToken = await request.coatcheck.accessToken('notebook');
    const { eln } = coatcheck.config.upstreams;
    const answer = await fetch(`${eln?.url}/entities`, {
      headers: { ...eln?.headers, authorization: `Bearer ${accessToken}` },
      redirect: 'error',
    });
    return { status: answer.status, entries: await answer.json() };
  });

  return app;
}

const configFile = process.argv[2];
if (configFile !== undefined && import.meta.filename === process.argv[1]) {
  const app = await createApp(configFile);
  console.log(`listening at ${await app.listen({ port: 3000 })}`);
}
