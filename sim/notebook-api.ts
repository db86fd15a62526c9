import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { answerJson, asListener, pathOf, readJson, startHttpServer } from './http-server.ts';
import type { Seen } from './seen.ts';

/** Something in the notebook. */
export interface Entity {
  readonly id: string;
  readonly type: 'sample' | 'experiment';
  readonly name: string;
  readonly properties: Readonly<Record<string, string>>;
  /** Changes with every write. A write may name the one it was based on, as query parameter `digest`. */
  readonly digest: string;
  /** Subject of the last writer. */
  readonly editedBy: string | null;
}

/** Headers by which only the facade can talk to the notebook. */
export const internalHeaders = { secret: 'x-internal-secret', seen: 'x-internal-seen' } as const;

/** A running notebook API. */
export interface NotebookApi {
  readonly url: string;
  close(): Promise<void>;
}

const properties = z.record(z.string(), z.string());

function withDigest(entity: Omit<Entity, 'digest'>): Entity {
  const digest = createHash('sha256').update(JSON.stringify(entity)).digest('hex').slice(0, 12);
  return { ...entity, digest };
}

const seeds: readonly Omit<Entity, 'digest'>[] = [
  {
    id: 'sample:0b6f4c1e-7a52-4d0e-9c3b-2f8a6d1e5b70',
    type: 'sample',
    name: 'Buffer 17, pH 7.4',
    properties: { status: 'available', location: 'Fridge 2', amount: '250 ml' },
    editedBy: null,
  },
  {
    id: 'sample:5d21e8a9-3c4f-4b7a-8e60-91c7f2a4d833',
    type: 'sample',
    name: 'Compound C-204',
    properties: { status: 'available', location: 'Cabinet A', amount: '12 mg' },
    editedBy: null,
  },
  {
    id: 'experiment:c8f07b36-1e9d-4a25-b5d4-6a0e3f927c18',
    type: 'experiment',
    name: 'Solubility of C-204',
    properties: { status: 'open', result: '' },
    editedBy: null,
  },
];

/** Starts the notebook's API. It believes whoever knows `internalSecret`, and nobody else. */
export async function startNotebookApi(options: {
  port?: number;
  internalSecret: string;
}): Promise<NotebookApi> {
  const entities = new Map(seeds.map((seed) => [seed.id, withDigest(seed)]));
  const server = await startHttpServer(options.port);
  server.serve(
    asListener(async (request, response) => {
      if (request.headers[internalHeaders.secret] !== options.internalSecret) {
        return answerJson(response, 403, { error: 'only the facade may call this' });
      }
      const seen = JSON.parse(String(request.headers[internalHeaders.seen])) as Seen;
      await answerEntities({ entities, seen, request, response });
    }),
  );
  return { url: server.url, close: () => server.close() };
}

interface Call {
  readonly entities: Map<string, Entity>;
  readonly seen: Seen;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

async function answerEntities({ entities, seen, request, response }: Call): Promise<void> {
  const answer = (status: number, body: object): void => answerJson(response, status, { ...body, seen });
  const [, collection, id, part, ...rest] = pathOf(request).split('/');
  if (collection !== 'entities' || rest.length > 0) return answer(404, { error: 'not found' });
  if (id === undefined && request.method === 'GET') return answer(200, { entities: [...entities.values()] });
  const entity = entities.get(decodeURIComponent(id ?? ''));
  if (!entity) return answer(404, { error: 'no such entity' });
  if (part === undefined && request.method === 'GET') return answer(200, { entity });
  if (part !== 'properties' || request.method !== 'PATCH')
    return answer(405, { error: 'method not allowed' });

  const changes = properties.safeParse(await readJson(request));
  if (!changes.success) return answer(400, { error: 'properties must be strings' });
  const basedOn = new URL(request.url ?? '/', 'http://notebook').searchParams.get('digest');
  if (basedOn !== null && basedOn !== entities.get(entity.id)?.digest)
    return answer(428, { error: 'DigestNotMatch' });
  const { digest: _former, ...current } = entities.get(entity.id) ?? entity;
  const changed = withDigest({
    ...current,
    properties: { ...current.properties, ...changes.data },
    editedBy: seen.subject,
  });
  entities.set(entity.id, changed);
  answer(200, { entity: changed });
}
