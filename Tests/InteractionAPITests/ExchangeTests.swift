// The machine of one exchange: what an end means at each point of it.

import NIOCore
import Testing

@testable import InteractionAPI

@Suite struct ExchangeTests {
    private let failure = CallFailure("broken", "it broke")
    private let start = NIODeadline.uptimeNanoseconds(0)
    private func after(_ seconds: Int64) -> NIODeadline { start + .seconds(seconds) }

    private func exchange(callSeconds: Int64 = 1000) -> Exchange {
        var settings = ConnectionSettings()
        settings.writeTimeout = .seconds(1)
        settings.answerHeadTimeout = .seconds(20)
        settings.answerBodyTimeout = .seconds(300)
        return Exchange(settings: settings, callDeadline: after(callSeconds), now: start)
    }

    private let accepted: AnswerHead

    init() throws {
        let lines = ["HTTP/1.1 202 Accepted", "Content-Length: 0"]
        var head = try AnswerHead(statusLine: lines[0].utf8.count, of: ByteBuffer(string: lines[0]))
        try head.add(fieldLine: lines[1].utf8.count, of: ByteBuffer(string: lines[1]))
        accepted = head
    }

    @Test func certainty() {
        var exchange = exchange()
        #expect(exchange.failed(failure).result == .notSent(failure))
        exchange.headWritten()
        #expect(exchange.failed(failure).result == .effectUnknown(failure))
        exchange.requestWritten(now: start)
        #expect(exchange.failed(failure).result == .effectUnknown(failure))
        exchange.received(accepted, now: start)
        let cut = exchange.failed(failure)
        #expect(cut.result == .answered(CallAnswer(status: 202, body: [], bodyIsUnreadable: true)))
        #expect(!cut.keepsConnection)
        let end = exchange.receivedEnd()
        #expect(end?.result == .answered(CallAnswer(status: 202, body: [])))
        #expect(end?.keepsConnection == true)
    }

    @Test func deadlinesOfThePhases() {
        var exchange = exchange()
        #expect(exchange.deadline == after(1))
        exchange.requestWritten(now: after(1))
        #expect(exchange.deadline == after(21))
        exchange.received(accepted, now: after(2))
        #expect(exchange.deadline == after(302))
    }

    @Test func theCallsDeadlineIsAboveAll() {
        var exchange = exchange(callSeconds: 10)
        #expect(exchange.deadline == after(1))
        exchange.requestWritten(now: after(1))
        #expect(exchange.deadline == after(10))
        exchange.received(accepted, now: after(2))
        #expect(exchange.deadline == after(10))
    }

    @Test func anEarlyAnswerEndsTheConnectionAndKeepsItsPhase() {
        var exchange = exchange()
        exchange.headWritten()
        exchange.received(accepted, now: start)
        // The rest of the request being written does not go back to waiting for a head.
        let early = exchange.receivedEnd()
        #expect(early?.keepsConnection == false)
        exchange.requestWritten(now: after(2))
        #expect(exchange.deadline == after(300))
    }
}
