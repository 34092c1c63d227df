import Testing

@testable import AMQP

@Suite struct ChannelRenewalTests {
    private let start = ContinuousClock.now

    private func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    @Test("The first refusal replaces the channel, once what is in flight is answered")
    func firstRefusal() {
        var renewal = ChannelRenewal()
        renewal.answered(now: at(0))
        #expect(renewal.step(isIdle: false, isBlocked: false, now: at(0)) == .publish)
        renewal.nacked(now: at(10))
        #expect(renewal.step(isIdle: false, isBlocked: false, now: at(10)) == .hold)
        renewal.nacked(now: at(20))
        #expect(renewal.step(isIdle: true, isBlocked: false, now: at(20)) == .renew)
        renewal.renewed(now: at(21))
        #expect(renewal.step(isIdle: true, isBlocked: false, now: at(21)) == .publish)
    }

    @Test("What is never answered is given up, counted from the last answer")
    func patience() {
        var renewal = ChannelRenewal()
        renewal.nacked(now: at(0))
        #expect(renewal.step(isIdle: false, isBlocked: false, now: at(1_999)) == .hold)
        renewal.answered(now: at(1_999))
        #expect(renewal.step(isIdle: false, isBlocked: false, now: at(3_998)) == .hold)
        #expect(renewal.step(isIdle: false, isBlocked: false, now: at(3_999)) == .renew)
    }

    @Test("A blocked broker answers nothing: the channel waits, whatever the time")
    func blocked() {
        var renewal = ChannelRenewal()
        #expect(renewal.step(isIdle: true, isBlocked: true, now: at(0)) == .publish)
        renewal.nacked(now: at(0))
        #expect(renewal.step(isIdle: true, isBlocked: true, now: at(60_000)) == .hold)
        #expect(renewal.step(isIdle: true, isBlocked: false, now: at(60_000)) == .renew)
    }

    @Test("Where new channels are refused as well, they come more and more seldom, up to a bound")
    func backoff() {
        var renewal = ChannelRenewal()
        var renewals: [Int] = []
        // A full queue: refusals every 100 ms for five minutes.
        for time in stride(from: 0, to: 300_000, by: 100) {
            renewal.nacked(now: at(time))
            if renewal.step(isIdle: true, isBlocked: false, now: at(time)) == .renew {
                renewal.renewed(now: at(time))
                renewals.append(time)
            }
        }
        let gaps = zip(renewals.dropFirst(), renewals).map { $0 - $1 }
        #expect(gaps.prefix(6) == [500, 1_000, 2_000, 4_000, 8_000, 16_000])
        #expect(gaps.dropFirst(6).allSatisfy { $0 == 30_000 })
        // Quiet for twice the interval: the next refusal counts as a first one.
        let later = 300_000 + 60_000
        renewal.nacked(now: at(later))
        #expect(renewal.step(isIdle: true, isBlocked: false, now: at(later)) == .renew)
        renewal.renewed(now: at(later))
        renewal.nacked(now: at(later + 499))
        #expect(renewal.step(isIdle: true, isBlocked: false, now: at(later + 499)) == .publish)
        renewal.nacked(now: at(later + 500))
        #expect(renewal.step(isIdle: true, isBlocked: false, now: at(later + 500)) == .renew)
    }
}
