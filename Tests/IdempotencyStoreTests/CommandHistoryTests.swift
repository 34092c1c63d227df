// What is noted of a command: its bound, its bytes, and what versions make of each other's.

import RoutingContract
import Testing

@testable import IdempotencyStore

@Suite struct CommandHistoryTests {
    private static let call = CallNote(
        startedAt: start, duration: .milliseconds(1234), isClearing: true, end: .answered(status: 503), code: 10019,
        reason: "read-only", refusedRequests: 1)

    private static let events: [HistoryEntry.Event] = [
        .claimed(ClaimNote(kind: .acquired, worker: "wörker")),
        .claimed(
            ClaimNote(
                kind: .reopened, worker: "", delivery: DeliveryNote(receivedAt: start, earlierDeliveries: 7), replay: 3)
        ),
        .called(call), .called(CallNote(startedAt: start, duration: .zero, end: .notSent, reason: "connect-failed")),
        .called(CallNote(startedAt: start, duration: .seconds(10), end: .unanswered, reason: "timeout")),
        .released(unbound: true), .released(unbound: false), .ended(.unknown, replay: 2),
        .seenAgain(SeenAgain(kind: .duplicate, count: 9, lastAt: start, worker: "w")), .forgotten,
    ]

    private func history(_ count: Int) -> CommandHistory {
        var history = CommandHistory()
        for number in 0..<count { history.note(.ended(.rejected, replay: number), at: start) }
        return history
    }

    private func replays(_ history: CommandHistory) -> [Int]? {
        history.entries?.compactMap { entry in
            guard case .ended(_, let replay) = entry.event else { return nil }
            return replay
        }
    }

    @Test func everyEntryComesBackWhole() {
        var history = CommandHistory()
        for event in Self.events { history.note(event, at: start) }
        #expect(history.entries == Self.events.map { HistoryEntry(at: start, event: $0) })
        #expect(CommandHistory(bytes: history.bytes) == history && history.dropped == 0)
    }

    @Test func theFirstFourAndTheLastTwentyEightStay() {
        #expect(replays(history(32)) == Array(0..<32))
        #expect(replays(history(33)) == Array(0..<4) + Array(5..<33))
        let long = history(1000)
        #expect(replays(long) == Array(0..<4) + Array(972..<1000))
        #expect(long.dropped == 968)
        #expect(long.bytes.count < 32 * 16)
    }

    @Test func aTypicalCommandTakesFewBytes() {
        var history = CommandHistory()
        history.belong(to: ConversationTag(ConversationKey(org: someOrg, conversation: "c")))
        let claim = ClaimNote(
            kind: .acquired, worker: "host-1234", delivery: DeliveryNote(receivedAt: start, earlierDeliveries: 0))
        history.note(.claimed(claim), at: start)
        history.note([CallNote(startedAt: start, duration: .milliseconds(80), end: .answered(status: 202))])
        history.note(.ended(.succeeded, replay: 0), at: start)
        #expect(history.bytes.count <= 80)
    }

    @Test func deliveriesOfOneKindInARowAreToldAsOne() throws {
        var history = history(32)
        for second in Int64(1)...50 {
            history.note(SeenAgain(kind: .duplicate, lastAt: start + .seconds(second), worker: "w\(second)"))
        }
        history.note(SeenAgain(kind: .conflict, lastAt: start, worker: "w"))
        history.note(SeenAgain(kind: .duplicate, lastAt: start, worker: "w"))
        let entries = try #require(history.entries).suffix(3)
        #expect(
            entries.map(\.event) == [
                .seenAgain(SeenAgain(kind: .duplicate, count: 50, lastAt: start + .seconds(50), worker: "w50")),
                .seenAgain(SeenAgain(kind: .conflict, lastAt: start, worker: "w")),
                .seenAgain(SeenAgain(kind: .duplicate, lastAt: start, worker: "w")),
            ])
        #expect(entries.first?.at == start + .seconds(1))
        #expect(history.dropped == 3)
    }

    @Test func aCallToldTwiceIsNotedOnce() {
        var history = CommandHistory()
        var second = Self.call
        second.startedAt = start + .milliseconds(1)
        history.note([Self.call])
        history.note([Self.call, second])
        #expect(history.entries?.map(\.event) == [.called(Self.call), .called(second)])
    }

    @Test func aLongReasonIsCut() {
        let call = CallNote(
            startedAt: start, duration: .zero, end: .notSent, reason: String(repeating: "ü", count: 1000))
        #expect(call.reason == String(repeating: "ü", count: 32))
    }

    @Test func theConversationIsADigestAndCanBeForgotten() {
        let tag = ConversationTag(ConversationKey(org: someOrg, conversation: "c"))
        var history = history(2)
        history.belong(to: tag)
        history.belong(to: ConversationTag(ConversationKey(org: someOrg, conversation: "d")))
        #expect(history.conversation == tag)
        #expect(replays(history) == [0, 1])
        for number in 2..<40 { history.note(.ended(.rejected, replay: number), at: start) }
        #expect(history.conversation == tag)
        history.forgetConversation()
        #expect(history.conversation == nil)
        #expect(replays(history)?.count == 32)
        #expect(tag != ConversationTag(ConversationKey(org: OrgID("00D000000000002")!, conversation: "c")))
    }

    // MARK: Versions

    @Test func anEntryOfALaterVersionIsToldAsOtherAndKept() {
        // One entry of four bytes (the length is a zigzag): kind 200, the time 1, and what only its version reads.
        let bytes: [UInt8] = [1, 0, 1, 0, 0, 0, 0, 8, 200, 2, 9, 9]
        var history = CommandHistory(bytes: bytes)
        for number in 0..<50 { history.note(.ended(.rejected, replay: number), at: start) }
        #expect(history.entries?.first == HistoryEntry(at: Timestamp(milliseconds: 1), event: .other(200)))
        #expect(history.entries?.count == 32)
        #expect(history.bytes[7..<12] == bytes[7..<12])
    }

    @Test func whatIsAddedToTheEndOfAnEntryIsSkipped() {
        var bytes = HistoryCodec.encode(HistoryEntry(at: start, event: .called(Self.call)))
        bytes += [1, 2, 3]
        #expect(HistoryCodec.decode(bytes[...]) == HistoryEntry(at: start, event: .called(Self.call)))
    }

    @Test func aLaterFormatIsLeftAsItIs() {
        let bytes: [UInt8] = [2, 0, 0, 0, 0, 0, 0, 42]
        var history = CommandHistory(bytes: bytes)
        history.note(.forgotten, at: start)
        history.note([Self.call])
        history.note(SeenAgain(kind: .duplicate, lastAt: start, worker: "w"))
        history.belong(to: ConversationTag(ConversationKey(org: someOrg, conversation: "c")))
        history.forgetConversation()
        #expect(history.bytes == bytes && history.entries == nil && history.conversation == nil)
    }

    @Test func damageNeverTraps() {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        var whole = history(40)
        whole.belong(to: ConversationTag(ConversationKey(org: someOrg, conversation: "c")))
        for event in Self.events { whole.note(event, at: start) }
        for _ in 0..<3000 {
            var bytes = whole.bytes
            let index = Int.random(in: bytes.indices, using: &generator)
            bytes[index] = .random(in: .min ... .max, using: &generator)
            if Bool.random(using: &generator) { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &generator)) }
            var history = CommandHistory(bytes: bytes)
            _ = (history.entries, history.dropped, history.conversation)
            history.note([Self.call])
            history.note(SeenAgain(kind: .conflict, lastAt: start, worker: "w"))
            history.forgetConversation()
            _ = history.entries
        }
    }
}
