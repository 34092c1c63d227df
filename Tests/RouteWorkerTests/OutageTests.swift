// What is said while a broker is away.

import AMQP
import Testing

@testable import RouteWorker

@Suite("Outages of the broker")
struct OutageTests {
    private let start = ContinuousClock.now
    private let lost = AMQPError.connectionLost("the broker closed the socket")
    private let refused = AMQPError.unreachable(host: "rabbit-1", port: 5672, reason: "connection refused")
    private let other = AMQPError.unreachable(host: "rabbit-2", port: 5672, reason: "connection refused")

    private func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }

    @Test("Each way of failing is said once, whatever comes in between, and then a reminder a minute")
    func once() {
        var outage = Outage()
        outage.began(lost, now: at(0))
        #expect(outage.failed(lost, now: at(0)) == .repetition)
        #expect(outage.failed(refused, now: at(1)) == .news)
        #expect(outage.failed(other, now: at(2)) == .news)
        #expect(outage.failed(refused, now: at(3)) == .repetition)
        #expect(outage.failed(other, now: at(61)) == .repetition)
        #expect(outage.failed(refused, now: at(62)) == .reminder(away: .seconds(62)))
        #expect(outage.failed(other, now: at(121)) == .repetition)
        #expect(outage.failed(other, now: at(122)) == .reminder(away: .seconds(122)))
    }

    @Test("A broker that was never there is said, and one that is lost again is said anew")
    func anew() {
        var outage = Outage()
        #expect(outage.failed(refused, now: at(0)) == .news)
        #expect(outage.failed(refused, now: at(1)) == .repetition)
        outage.began(lost, now: at(500))
        #expect(outage.failed(refused, now: at(501)) == .news)
        #expect(outage.failed(refused, now: at(561)) == .reminder(away: .seconds(61)))
    }
}
