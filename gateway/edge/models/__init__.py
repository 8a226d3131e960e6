"""Models, as OpenAI's API offers them: /v1/chat/completions, /v1/responses, /v1/embeddings, /v1/models."""
