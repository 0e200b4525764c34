"""table.py - the seeded bugs: in which file, which text becomes which, which test must find it, within how long"""
from typing import NamedTuple


class Mutant(NamedTuple):
    file: str
    bug: str
    old: str
    new: str
    test: str  # a target of ninja, and a program in build/tests
    filter: str = "*/*"
    seconds: float = 60  # more than this: it hangs


LINE = "unit.fabricd.line"
TORN = "litmus.torn"
POOL_TORN = "torn/no_reader*"
LITMUS = "litmus.litmus"
LINEAR = "litmus.linearizable"
LINEAR_ALL = "linearizable/every*"
SLOTS = "unit.proto.session.slots"
WINDOW = "unit.proto.session.window"
RECORD = "unit.proto.secure.record"
EXECUTOR = "unit.fabricd.executor"
REGION = "unit.fabricd.region"
DIRECTORY = "unit.fabricd.directory"
MODEL = "model.directory_model"
COHERENCE = "unit.live.coherence"
SNOOP = "unit.client.pager.snoop"

MUTANTS = [
    # ---- lines ----
    Mutant("fabricd/line.c", "a reader does not look at the version again",
           "__builtin_expect(load_relaxed(version) == before, 1)", "1", TORN, POOL_TORN),
    Mutant("fabricd/line.c", "a reader does not mind a writer at work",
           "if (__builtin_expect(!(before & 1), 1)) {", "if (1) {", TORN, POOL_TORN),
    Mutant("fabricd/line.c", "a writer leaves the version as it was",
           "store_release(version, locked_at + 2);", "store_release(version, locked_at);", TORN, POOL_TORN),
    Mutant("fabricd/line.c", "a single line is read under the page's first version word",
           "read_block(&versions[first / BLOCK_LINES], lines + first * LINE_BYTES, 1, bytes_out);",
           "read_block(&versions[0], lines + first * LINE_BYTES, 1, bytes_out);", TORN, POOL_TORN),
    Mutant("fabricd/line.c", "two writers may hold one version word",
           "if (!(found & 1) && cas_acquire(version, &found, found + 1)) {",
           "if (cas_acquire(version, &found, found | 1)) {", TORN, POOL_TORN),
    Mutant("fabricd/line.c", "atomics take no version word",
           "    locked_at = version_lock(version);\n    if (width_log2 == 4)",
           "    locked_at = load_relaxed(version) & ~1u;\n    if (width_log2 == 4)", TORN, "torn/no_addition*"),
    Mutant("fabricd/line.c", "a masked write forgets the bytes that stay",
           "old = (old & keep) | (new & ~keep);", "old = new & ~keep;", LINE),
    Mutant("fabricd/line.c", "a CAS of 16 bytes compares 8",
           "memcmp(old_out, &operands[0], sizeof(*old_out)) != 0", "memcmp(old_out, &operands[0], 8) != 0", LINE),
    Mutant("fabricd/line.c", "a CAS stores whatever it finds",
           "if (opcode == OP_CAS && old != operand)", "if (opcode == OP_CAS && old == ~operand)", LITMUS,
           "litmus/operations_that_wait", 120),

    # ---- the server's half of exactly-once ----
    Mutant("proto/session/slots.c", "a request from beyond the window is taken",
           "if (seq == next_seq(slot, slot_of(seq)))", "if (seq >= next_seq(slot, slot_of(seq)))", SLOTS),
    Mutant("proto/session/slots.c", "the digest of a repeat is not compared",
           "return digest == slot->digest ? SLOT_REMEMBER : SLOT_BROKEN;", "return SLOT_REMEMBER;", SLOTS),
    Mutant("proto/session/slots.c", "a repeat that changes something is done again",
           "return digest == slot->digest ? SLOT_REMEMBER : SLOT_BROKEN;", "return SLOT_EXECUTE;", LINEAR, LINEAR_ALL, 120),
    Mutant("proto/session/slots.c", "a late duplicate counts as a repeat",
           "if (seq < slot->seq)\n        return SLOT_IGNORE;", "if (seq < slot->seq)\n        return SLOT_EXECUTE;", SLOTS),
    Mutant("proto/session/slots.c", "a remembered answer is shorter than the first",
           "slot->value_bytes = value_bytes;", "slot->value_bytes = value_bytes / 2;", SLOTS),
    Mutant("proto/session/slots.c", "slots are counted from the wrong end",
           "return index == 0 ? SESSION_SLOTS : index;", "return index;", SLOTS),

    # ---- the client's half ----
    Mutant("proto/session/window.c", "one request too many is in flight",
           "window->next_seq - window->oldest < SESSION_SLOTS &&", "window->next_seq - window->oldest <= SESSION_SLOTS &&",
           WINDOW),
    Mutant("proto/session/window.c", "a loss does not make the window smaller",
           "window->allowed = window->allowed > 1 ? window->allowed / 2 : 1;", "(void)0;", WINDOW),
    Mutant("proto/session/window.c", "a repeat waits no longer than the one before",
           "rto <<= tries > 10 ? 10 : tries;", "rto <<= 0;", WINDOW),
    Mutant("proto/session/window.c", "an answer ends whatever request has its slot",
           "if (!slot->in_flight || slot->seq != seq || slot->tries == 0)\n        return false;",
           "if (!slot->in_flight || slot->tries == 0)\n        return false;", WINDOW),
    Mutant("proto/session/window.c", "each loss of one congestion halves the window again",
           "if (lost_counter < window->cut_counter)", "if (lost_counter == UINT64_MAX)", WINDOW),

    # ---- records ----
    Mutant("proto/secure/record.c", "what was received is not marked",
           "    window_mark(opener, counter);\n    if (opener->previous", "    if (opener->previous", RECORD),
    Mutant("proto/secure/record.c", "records older than the replay window are taken",
           "if (opener->newest_counter - counter >= WINDOW_BITS)\n        return false;",
           "if (opener->newest_counter - counter >= WINDOW_BITS)\n        return true;", RECORD),
    Mutant("proto/secure/record.c", "the replay window is cut in half",
           "if (opener->newest_counter - counter >= WINDOW_BITS)", "if (opener->newest_counter - counter >= WINDOW_BITS / 2)",
           RECORD),
    Mutant("proto/secure/record.c", "a forged record moves the key on",
           "    if (!error) {\n        opener->phase++;", "    {\n        opener->phase++;", RECORD),
    Mutant("proto/secure/record.c", "the key before is good for ever",
           "if (ahead == UINT8_MAX && now_ns < opener->previous_until_ns)", "if (ahead == UINT8_MAX)", RECORD),
    Mutant("proto/secure/record.c", "a counter is used twice", "    sealer->counter++;\n", "", RECORD),

    # ---- requests ----
    Mutant("fabricd/executor.c", "operations behind one that failed are done",
           "                if (error)\n                    return error == -EINPROGRESS ? error : 0;\n",
           "                if (error == -EINPROGRESS)\n                    return error;\n", EXECUTOR),
    Mutant("fabricd/region_access.c", "a sealed region can be written",
           "if (load_relaxed(&region->flags) & REGION_SEALED)", "if (load_relaxed(&region->flags) & REGION_SEALED & 0)",
           REGION),
    Mutant("fabricd/region_access.c", "a lost page reads as zeros",
           "        if (value == 0) {\n            memset(bytes_out", "        if (value == 0 || value == ENTRY_POISON) {\n            "
           "memset(bytes_out", REGION),
    Mutant("fabricd/region_access.c", "a page shared with a clone is written in place",
           "return value != 0 && !(value & ENTRY_SHARED) && value != ENTRY_POISON;",
           "return value != 0 && value != ENTRY_POISON;", REGION),
    Mutant("fabricd/region_internal.h", "a handle is good for every tenant",
           "load_acquire(&region->generation) != generation || region->tenant != tenant)",
           "load_acquire(&region->generation) != generation || tenant == UINT16_MAX)", REGION),
    Mutant("fabricd/region_internal.h", "a deleted region's handle names the next one",
           "load_acquire(&region->generation) != generation || region->tenant != tenant)",
           "region->tenant != tenant)", REGION),
    Mutant("fabricd/worker_frame.c", "an old record leads the answers astray",
           "    if (counter != session->opener.newest_counter)\n        return;\n", "    (void)counter;\n", "unit.live.hostile"),
    Mutant("fabricd/worker_frame.c", "a session that was replaced goes on",
           "    if (id == 0 || claim->offer.incarnation != worker->options.incarnation)", "    if (id != UINT32_MAX)",
           "unit.live.replace"),

    Mutant("fabricd/worker.c", "a port in use is not waited for", "if (error != -EADDRINUSE || clock_now_ns() >= deadline_ns)",
           "if (error != -EAGAIN || clock_now_ns() >= deadline_ns)", "unit.fabricd.fabricd", "fabricd/waits_for_a_port*"),
    Mutant("fabricd/worker.c", "what comes while others have the core is as old as the offer", "    return back_ns;\n",
           "    return now_ns;\n", "unit.live.spin"),

    # ---- lanes ----
    Mutant("client/lane_frame.c", "operations on one line are in two requests",
           "if (order_claim(lane->order, &lane->window, op->region, offset, claimed, frame->seq))\n        return true;",
           "order_claim(lane->order, &lane->window, op->region, offset, claimed, frame->seq);\n    if (lane->order)\n"
           "        return true;", LITMUS, "litmus/operations_in_flight", 120),
    Mutant("client/lane_frame.c", "a fence lets requests overtake it",
           "if (lane_asks(lane) || lane->rests > 0)", "if (lane->rests > 0)", LITMUS,
           "litmus/operations_with_fences_between_them", 120),
    Mutant("client/lane_order.c", "lines are told apart by half of what tells them apart",
           "if (bucket->hashes[way] == line_hash && alive(window, bucket->seqs[way])) {",
           "if (bucket->hashes[way] == line_hash && !alive(window, bucket->seqs[way])) {", LITMUS,
           "litmus/operations_in_flight", 120),
    Mutant("client/lane_frame.c", "a part-filled frame waits for itself",
           "lane->window.in_flight - lane->window.parked - (lane->building != 0);", "lane->window.in_flight - lane->window.parked;",
           "unit.live.operations", "queue/an_operation_leaves*", 20),
    Mutant("client/lane_frame.c", "a part-filled frame waits for what the server keeps waiting",
           "lane->window.in_flight - lane->window.parked - (lane->building != 0);", "lane->window.in_flight - (lane->building != 0);",
           "unit.live.lane", "lane/a_part_filled*", 20),
    Mutant("client/lane.c", "an operation done in part counts as not done",
           "if (op->outcome && op->part_done)", "if (op->outcome && op->part_done && !op->issued)", "unit.live.operations"),
    Mutant("client/lane.c", "what was cancelled is repeated all the same",
           "    if (mutates && sent > 0) {", "    if (mutates && sent > SESSION_SLOTS) {", "unit.live.loss"),
    Mutant("client/lane_link.c", "a request of a lost session is sent again, unknown or not",
           "    if (frame->mutates)\n        lane_fail_mutations(lane, frame);\n", "", "unit.live.loss"),

    # ---- who caches which page ----
    Mutant("fabricd/directory_word.c", "readers keep their copies when somebody stores",
           "    return word_holder(directory, word, 1, access_requester(access, agent)) != 0;",
           "    return word_state(word) == DIRECTORY_OWNED &&\n"
           "           word_holder(directory, word, 1, access_requester(access, agent)) != 0;", MODEL),
    Mutant("fabricd/directory_word.c", "a new reader makes the directory forget the others",
           "return word_shared(tag, vector | 1ull << agent_bit(agent));", "return word_shared(tag, 1ull << agent_bit(agent));",
           MODEL),
    Mutant("fabricd/directory_word.c", "an owner's number stands for whoever has it next",
           "return agent && agent->generation == word_generation(word) ? word_owner(word) : 0;",
           "return agent ? word_owner(word) : 0;", DIRECTORY),
    Mutant("fabricd/directory_word.c", "a repeated read takes the owner's page away from it",
           "if (word_state(word) == DIRECTORY_OWNED && word_live_owner(directory, word) == agent)",
           "if (word_state(word) == DIRECTORY_OWNED && !word_live_owner(directory, word))", DIRECTORY),
    Mutant("fabricd/directory.c", "an answer to another page's snoop is taken",
           "return transaction && transaction->page == page ? transaction : NULL;", "return transaction;", DIRECTORY),
    Mutant("fabricd/directory.c", "an answer closes a snoop that is no longer open",
           "if (!agent || (uint16_t)(id - agent->first) >= (uint16_t)(agent->next - agent->first))\n        return NULL;",
           "if (!agent)\n        return NULL;\n    if ((uint16_t)(id - agent->first) >= (uint16_t)(agent->next - agent->first))\n"
           "        id = agent->first;", DIRECTORY),
    Mutant("fabricd/executor_coherent.c", "a closed snoop is called open", "? 0 : -EOWNERDEAD", "? 0 : 0", COHERENCE),
    Mutant("fabricd/directory.c", "a holder may keep a copy that was to be given up",
           "(state != BI_STATE_SHARED || transaction->kind != BI_SNP_DATA)", "state != BI_STATE_SHARED", DIRECTORY),
    Mutant("fabricd/directory.c", "an eviction counts while the page is being asked for",
           "if (!entry || word_transaction(entry_word(entry)) || !directory_holds(directory, agent, page))",
           "if (!entry || !directory_holds(directory, agent, page))", DIRECTORY),
    Mutant("fabricd/directory.c", "an eviction takes out all who share the bit",
           "else if (directory->members[bit] == 1)", "else", DIRECTORY),
    Mutant("fabricd/directory.c", "nobody goes on when the snooped agent ends",
           "            snoop_close(directory, agent, id, BI_STATE_INVALID);\n    unblock(directory, agent);",
           "            agent->open--;\n    unblock(directory, agent);", DIRECTORY),
    Mutant("fabricd/directory.c", "the first answer of many lets the store through",
           "if (transaction->open || transaction->cursor)", "if (transaction->cursor)", MODEL),

    # ---- mappings ----
    Mutant("client/pager_writeback.c", "a page is copied without being protected",
           "    protect_all(pager, wb);\n    wb->posted", "    wb->posted", "unit.client.pager.basic"),
    Mutant("client/pager_print.c", "a shelf is taken down with fingerprints on it",
           "    if (shelf->used)\n        return;", "", "unit.client.pager.print"),
    Mutant("client/pager.c", "a gate is closed by two at once",
           "while (fetch_or_acq_rel(gate, GATE_CLOSED) & GATE_CLOSED)", "for (fetch_or_acq_rel(gate, GATE_CLOSED); 0;)",
           "unit.client.pager.gate"),
    Mutant("client/pager_writeback.c", "a write that failed counts as done",
           "        if (wb->failed[i]) {", "        if (wb->failed[i] && wb->shared[i]) {", "unit.client.pager.gone"),
    Mutant("client/pager_writeback.c", "lines whose write is unknown are compared as if it were not",
           "    print_force(pager, print, wb->changed[i]);", "    print_force(pager, print, 0);", "unit.client.pager.gone"),
    Mutant("client/pager_writeback.c", "a write-back goes behind a bulk read that waits for another client",
           "    if (lane && pager->snooper)\n        lane_drain", "    if (0)\n        lane_drain", "unit.client.pager.snoop"),
    Mutant("client/pager_writeback.c", "what the server may have got counts as zeros",
           "uint64_t clear = wb->changed[i] ? PAGE_SERVER_ZERO : 0;", "uint64_t clear = 0;", "unit.client.pager.gone"),
    Mutant("client/pager_writeback.c", "a sync that failed goes on with the next batch",
           "for (; rc == 0 && begun < batches && begun < ended + most; begun++)",
           "for (; begun < batches && begun < ended + most; begun++)", "unit.client.pager.gone"),

    # ---- coherent regions ----
    Mutant("fabricd/executor_coherent.c", "a write leaves the page with who has it",
           "error = coherence_access(coherence, rest->page, DIRECTORY_STORE, 0, waiter);",
           "error = coherence_access(coherence, rest->page, DIRECTORY_LOAD, 0, waiter);", COHERENCE),
    Mutant("fabricd/executor_coherent.c", "an atomic leaves the page with who has it",
           "error = coherence_access(coherence, op->offset / PAGE_BYTES, DIRECTORY_STORE, 0, waiter);",
           "error = coherence_access(coherence, op->offset / PAGE_BYTES, DIRECTORY_LOAD, 0, waiter);", LITMUS,
           "litmus/coherent_mappings_and_operations", 180),
    Mutant("fabricd/executor_coherent.c", "a write-back is taken from who does not own the page",
           "        if (!coherence_owns(coherence, number, page))\n", "        if (!coherence_owns(coherence, number, page) && !number)\n",
           COHERENCE),
    Mutant("fabricd/executor_coherent.c", "who waits for a line is not called when it is stored to",
           "    coherence_stored(coherence, rest->place.offset / LINE_BYTES, lines);\n", "", "unit.live.wait", "wait/writes*", 30),
    Mutant("fabricd/coherence_agents.c", "a dead agent's name is good for its number's next",
           "return agent && agent->id == id ? agent : NULL;", "return agent;", COHERENCE),
    Mutant("fabricd/coherence_agents.c", "nobody is ever fenced", "if (agent->expires_ns <= now_ns) {",
           "if (agent->expires_ns == UINT64_MAX) {", COHERENCE),
    Mutant("fabricd/coherence_agents.c", "who is heard is fenced all the same",
           "        agent->expires_ns = heard_ns + coherence->options.lease_ns;", "        (void)agent;", COHERENCE),
    Mutant("fabricd/coherence.c", "who waits for a line does not look when its page leaves",
           "    else if (error == 0 && access == DIRECTORY_READ_OWN)\n        coherence_page_left(coherence, page);\n", "", COHERENCE),
    Mutant("fabricd/worker_agents.c", "a lost snoop is not sent again",
           "bool repeat = binding->repeat_ns > 0 && binding->repeat_due_ns <= now_ns;", "bool repeat = false;", COHERENCE),

    # ---- coherent mappings ----
    Mutant("client/pager_snoop.c", "what is fetched is kept although it was asked for meanwhile",
           "if (!page_claim(pager, snoop->page, &word, word | PAGE_SNOOPED))", "if (!page_claim(pager, snoop->page, &word, word))",
           SNOOP),
    Mutant("client/pager_snoop.c", "a page is copied for its answer while it is stored to",
           "    uffd_protect(pager, snoop->page, 1, true);\n", "", SNOOP),
    Mutant("client/pager_snoop.c", "a page that was given up can still be read",
           "    if (!keep)\n        uffd_drop(pager, &snoop->page, 1);\n", "", SNOOP),
    Mutant("client/pager_snoop.c", "a snoop heard twice is answered twice", "    if (*word & bit)\n        return true;\n", "", SNOOP),
    Mutant("client/pager_snoop.c", "who shares a page again thinks it is the only one",
           "if (!page_claim(pager, snoop->page, &word, word & ~PAGE_OWNED))", "if (!page_claim(pager, snoop->page, &word, word))",
           SNOOP),
    Mutant("client/pager_snoop.c", "what cannot be answered yet is looked at without end",
           "    if (snooper->answer_count == ANSWERS)\n        return next;", "    if (snooper->answer_count > ANSWERS)\n        return next;",
           SNOOP, "snoop/more_than*"),
    Mutant("client/pager_answer.c", "the answer to a snoop goes before the lines",
           "    add_lines(pager, answer);\n    add_answer(pager, answer);\n", "    add_answer(pager, answer);\n    add_lines(pager, answer);\n",
           SNOOP),
    Mutant("client/pager_answer.c", "lines that fill more than a frame are sent, and no answer",
           "    else if (!answer->told)\n        send_rest(pager, answer);\n", "", SNOOP),
    Mutant("client/pager_lease.c", "a lease counts for twice as long as it is",
           "snooper->asked_ns + lease_ns - lease_ns / 8", "snooper->asked_ns + 2 * lease_ns", SNOOP),
    Mutant("client/pager_lease.c", "a fence leaves clean pages where they are",
           "        sweep->clean[sweep->clean_count++] = page;\n        return true;",
           "        page_move(pager, page, PAGE_CLEAN, 0, 0);\n        return true;", SNOOP),
    Mutant("client/pager_lease.c", "a fence forgets stores without a word",
           "        new = (new & ~(PAGE_OWNED | PAGE_HOT)) | PAGE_LOST;", "        new = new & ~(PAGE_OWNED | PAGE_HOT);", SNOOP),
]
