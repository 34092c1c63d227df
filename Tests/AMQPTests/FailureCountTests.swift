// What is counted of attempts that fail, and of what worked for a while.
import Testing

@testable import AMQP

@Suite struct FailureCountTests {
    private let start = ContinuousClock.now

    private func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }

    @Test func whatLastedStartsTheCountAnewOnce() {
        var failures = FailureCount()
        #expect(failures.failed(now: at(0), lasting: .seconds(15)) == 1)
        #expect(failures.failed(now: at(60), lasting: .seconds(15)) == 2)
        failures.worked(now: at(61))
        #expect(failures.failed(now: at(62), lasting: .seconds(15)) == 3)
        failures.worked(now: at(63))
        #expect(failures.failed(now: at(100), lasting: .seconds(15)) == 1)
        // That it worked once, long ago, says nothing of the attempts since.
        #expect(failures.failed(now: at(101), lasting: .seconds(15)) == 2)
        #expect(failures.failed(now: at(200), lasting: .seconds(15)) == 3)
    }
}
