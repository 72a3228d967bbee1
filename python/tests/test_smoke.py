def test_sync(project):
    project.steps("""
    @workflow.step
    def step(context):
        print("hi")
        return {"rows": context.db.query("select 1", [1]), "n": context.inputs["a"]}
    """)
    d = project.describe()
    assert d["type"] == "definition", d
    print(d)
    e = project.start(inputs={"a": 3})
    end = e.drive(lambda f: {"columns": ["x"], "rows": [[1]], "rows_affected": 0})
    assert end["output"] == {"rows": [{"x": 1}], "n": 3}, end


def test_async(project):
    project.steps("""
    import asyncio
    @workflow.step
    async def step(context):
        async def one(i):
            return (await context.llm.chat(model="m", messages=[{"role": "user", "content": str(i)}])).text
        r = await asyncio.gather(*[one(i) for i in range(3)])
        await context.sleep(100)
        return r
    """)
    e = project.start()
    effects = e.effects(3)
    assert sorted(effects) == [("0.0", 0), ("0.1", 0), ("0.2", 0)]
    for f in effects.values():
        e.answer(f, {"text": f["request"]["messages"][0]["content"]})
    s = e.effect()
    assert s["kind"] == "sleep" and s["path"] == "0"
    assert e.receive("suspended")["on"] == [{"path": "0", "seq": 0}]
    e.answer(s)
    assert e.end()["output"] == ["0", "1", "2"]
