// The cohere-ai client, version 2 of its interface. It reads no address variable: it is given the one that
// wflo sets.

import { CohereClientV2 } from 'cohere-ai';
import assert from 'node:assert/strict';

const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools = [{ type: 'function', function: { name: 'weather', parameters: schema } }];
const user = (content) => [{ role: 'user', content }];
const client = () => new CohereClientV2({ token: process.env.CO_API_KEY, environment: process.env.CO_API_URL });

export const v2 = {
  async call(model, ask) {
    const reply = await client().chat({ model, messages: user(ask) });
    assert(reply.usage.billedUnits.outputTokens > 0);
    return reply.message.content[0].text;
  },
  async tools(model, ask) {
    const messages = user(ask);
    for (;;) {
      const reply = await client().chat({ model, messages, tools });
      if (!reply.message.toolCalls?.length) return reply.message.content[0].text;
      messages.push(reply.message);
      for (const call of reply.message.toolCalls) {
        assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Paris' });
        messages.push({ role: 'tool', toolCallId: call.id, content: 'sunny' });
      }
    }
  },
  async stream(model, ask) {
    let text = '';
    for await (const event of await client().chatStream({ model, messages: user(ask) })) {
      if (event.type === 'content-delta') text += event.delta.message.content.text;
    }
    return text;
  },
  async more(model, query) {
    // The first attempt is told to come again, and the client does.
    assert.match(await v2.call(model, 'are you busy, node?'), /busy/);
    const found = await client().models.list();
    assert(found.models.some((one) => one.name === model));
    const embedded = await client().embed({
      model: 'embed-v4.0', texts: ['a', 'b'], inputType: 'search_document', embeddingTypes: ['float'],
    });
    assert.equal(embedded.embeddings.float.length, 2);
    const ranked = await client().rerank({ model: 'rerank-v3.5', query, documents: ['a', 'b'] });
    assert.deepEqual(ranked.results.map((found) => found.index), [0, 1]);
    return 'ok';
  },
};
