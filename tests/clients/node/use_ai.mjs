// The Vercel AI SDK: text, a tool loop and a stream, over its OpenAI (responses and chat), Anthropic and
// Google providers. The first two read an address variable; Google's is given the one that wflo sets.

import { anthropic as anthropicProvider } from '@ai-sdk/anthropic';
import { createGoogleGenerativeAI } from '@ai-sdk/google';
import { openai as openaiProvider } from '@ai-sdk/openai';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import assert from 'node:assert/strict';
import { z } from 'zod';

const weather = tool({
  description: 'The weather in a city.',
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    assert.equal(city, 'Paris');
    return 'sunny';
  },
});

const over = (named, streamed = false) => ({
  async call(model, prompt) {
    const { text, usage } = await generateText({ model: named(model), prompt });
    assert(usage.outputTokens > 0);
    return text;
  },
  async tools(model, prompt) {
    const options = { model: named(model), prompt, tools: { weather }, stopWhen: stepCountIs(4) };
    if (!streamed) return (await generateText(options)).text;
    let failure;
    const result = streamText({ ...options, onError: ({ error }) => (failure = error) });
    let text = '';
    for await (const piece of result.textStream) text += piece;
    if (failure) throw failure;
    return text;
  },
  async stream(model, prompt) {
    let failure;
    const result = streamText({ model: named(model), prompt, onError: ({ error }) => (failure = error) });
    let text = '';
    for await (const piece of result.textStream) text += piece;
    if (failure) throw failure;
    return text;
  },
});

const google = () =>
  createGoogleGenerativeAI({ baseURL: `${process.env.GOOGLE_GEMINI_BASE_URL}/v1beta`, apiKey: process.env.GEMINI_API_KEY });

export const openai = over((model) => openaiProvider(model));
export const chat = over((model) => openaiProvider.chat(model), true);
export const anthropic = over((model) => anthropicProvider(model));
export const gemini = over((model) => google()(model), true);
