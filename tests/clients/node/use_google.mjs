// The @google/genai client.

import { GoogleGenAI } from '@google/genai';
import assert from 'node:assert/strict';

const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const config = { tools: [{ functionDeclarations: [{ name: 'weather', parametersJsonSchema: schema }] }] };
const client = () => new GoogleGenAI({ apiKey: process.env.GEMINI_API_KEY });

export const models = {
  async call(model, contents) {
    const reply = await client().models.generateContent({ model, contents });
    assert(reply.usageMetadata.totalTokenCount > 0);
    return reply.text;
  },
  async tools(model, ask) {
    const contents = [{ role: 'user', parts: [{ text: ask }] }];
    for (;;) {
      const reply = await client().models.generateContent({ model, contents, config });
      if (!reply.functionCalls?.length) return reply.text;
      contents.push(reply.candidates[0].content);
      const parts = reply.functionCalls.map(({ name, args }) => {
        assert.deepEqual(args, { city: 'Paris' });
        return { functionResponse: { name, response: { output: 'sunny' } } };
      });
      contents.push({ role: 'user', parts });
    }
  },
  async stream(model, contents) {
    let text = '';
    for await (const chunk of await client().models.generateContentStream({ model, contents })) text += chunk.text ?? '';
    return text;
  },
  async more(model, contents) {
    assert((await client().models.countTokens({ model, contents })).totalTokens > 0);
    const embedded = await client().models.embedContent({ model: 'gemini-embedding-001', contents: 'a' });
    assert.deepEqual(embedded.embeddings.map((one) => one.values), [[0.5, -0.25]]);
    return 'ok';
  },
};
