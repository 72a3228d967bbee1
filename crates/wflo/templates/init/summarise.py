
@workflow.step()
async def summarise(context):
    """Asks the model. The call is counted against the budget before it is made."""
    tickets = context.outputs["read_tickets"]
    if not tickets:
        return "There is no old open ticket."
    subjects = "\n".join(f"- {ticket['subject']} ({ticket['age_days']} days)" for ticket in tickets)
    answer = await context.llm.chat(
        model=@MODEL@,
        messages=[
            {"role": "system", "content": "You summarise support tickets in two short sentences."},
            {"role": "user", "content": f"These tickets are old:\n{subjects}"},
        ],
        max_tokens=200,
    )
    return answer.text

