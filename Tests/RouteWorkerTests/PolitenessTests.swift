// Transcripts and properties of what keeps the worker polite: breaker, rate, concurrency.

import RoutingContract
import Testing

@testable import RouteWorker

@Suite struct CircuitBreakerTests {
    private func at(_ seconds: Double) -> Duration { .seconds(seconds) }

    @Test func staysClosedBelowTheLeastNumberOfCalls() {
        var breaker = CircuitBreaker(.init(failurePercent: 50, minimumCalls: 4, window: .seconds(10)))
        for _ in 0..<3 { #expect(breaker.ended(failed: true, now: at(1)) == false) }
        #expect(!breaker.isOpen)
        #expect(breaker.ended(failed: true, now: at(1)) == true)
        #expect(breaker.isOpen)
        // What was under way when it opened changes nothing.
        #expect(breaker.ended(failed: true, now: at(1)) == false)
        #expect(breaker.ended(failed: false, now: at(1)) == false)
        #expect(breaker.isOpen)
    }

    @Test func opensAtTheRateAndNotBelowIt() {
        var breaker = CircuitBreaker(.init(failurePercent: 50, minimumCalls: 4, window: .seconds(10)))
        for _ in 0..<5 { #expect(breaker.ended(failed: false, now: at(0)) == false) }
        for _ in 0..<4 { #expect(breaker.ended(failed: true, now: at(1)) == false) }
        #expect(breaker.ended(failed: true, now: at(1)) == true)
    }

    @Test func forgetsWhatLiesBehindTheWindow() {
        var breaker = CircuitBreaker(.init(failurePercent: 50, minimumCalls: 4, window: .seconds(10)))
        for _ in 0..<3 { _ = breaker.ended(failed: true, now: at(0)) }
        #expect(breaker.ended(failed: true, now: at(11)) == false)
        #expect(!breaker.isOpen)
    }

    @Test func aTrialEndsWithItsFirstFailureOrEnoughSuccesses() {
        var breaker = CircuitBreaker(.init(failurePercent: 50, minimumCalls: 2, window: .seconds(10)))
        breaker.open()
        breaker.tryAgain()
        #expect(breaker.isOnTrial)
        #expect(breaker.ended(failed: false, now: at(0)) == false)
        #expect(breaker.ended(failed: true, now: at(0)) == true)
        #expect(breaker.isOpen)
        breaker.tryAgain()
        for _ in 0..<2 { #expect(breaker.ended(failed: false, now: at(1)) == false) }
        #expect(!breaker.isOnTrial && !breaker.isOpen)
        #expect(breaker.ended(failed: true, now: at(1)) == false)
    }

    @Test func opensExactlyWhenTheWindowSaysSo() {
        var random = SeededGenerator(seed: .random(in: 0 ... .max))
        let settings = CircuitBreaker.Settings(failurePercent: 40, minimumCalls: 6, window: .seconds(10))
        var breaker = CircuitBreaker(settings)
        var history: [(part: Int, failed: Bool)] = []
        for second in 0..<400 {
            let failed = Int.random(in: 0..<3, using: &random) == 0
            history.append((second, failed))
            let seen = history.filter { $0.part > second - 10 }
            let failures = seen.filter(\.failed).count
            let opens = failed && seen.count >= 6 && failures * 100 >= seen.count * 40
            #expect(breaker.ended(failed: failed, now: at(Double(second))) == opens, "seed \(random.seed)")
            if opens {
                breaker = CircuitBreaker(settings)
                history = []
            }
        }
    }
}

@Suite struct TokenBucketTests {
    @Test func letsOneSecondsWorthThroughAtOnceAndThenOneAfterAnother() {
        var bucket = TokenBucket(fleetRate: 4, now: .zero)
        for _ in 0..<4 { #expect(bucket.take(now: .zero) == .zero) }
        #expect(bucket.take(now: .zero) == .milliseconds(250))
        #expect(bucket.take(now: .zero) == .milliseconds(500))
        // The two that wait have taken what came since.
        #expect(bucket.take(now: .milliseconds(500)) == .milliseconds(250))
    }

    @Test func slowRatesLetOneThrough() {
        var bucket = TokenBucket(fleetRate: 0.5, now: .zero)
        #expect(bucket.take(now: .zero) == .zero)
        #expect(bucket.take(now: .zero) == .seconds(2))
    }

    @Test func theFleetsRateIsShared() {
        var bucket = TokenBucket(fleetRate: 10, now: .zero)
        bucket.share(10, among: 5, now: .zero)
        #expect(bucket.rate == 2)
        for _ in 0..<2 { #expect(bucket.take(now: .zero) == .zero) }
        #expect(bucket.take(now: .zero) == .milliseconds(500))
    }

    @Test func neverMoreThanTheRateOverAnyTime() {
        var random = SeededGenerator(seed: .random(in: 0 ... .max))
        for _ in 0..<50 {
            let rate = Double.random(in: 0.2...200, using: &random)
            var bucket = TokenBucket(fleetRate: rate, now: .zero)
            var now = Duration.zero
            var starts: [Duration] = []
            for _ in 0..<200 {
                now += .milliseconds(Int.random(in: 0...40, using: &random))
                starts.append(now + bucket.take(now: now))
            }
            // Within any stretch: one second's worth at once, and the rate.
            for first in stride(from: 0, to: 200, by: 20) {
                for last in first..<200 {
                    let allowed = max(rate, 1) + rate * ((starts[last] - starts[first]) / .seconds(1))
                    #expect(Double(last - first) <= allowed + 0.01, "seed \(random.seed)")
                }
            }
        }
    }
}

@Suite struct AdaptiveConcurrencyTests {
    @Test func isHalvedOncePerOverloadAndGrowsByOnePerRound() {
        var concurrency = AdaptiveConcurrency(maximum: 16)
        #expect(concurrency.succeeded() == false)
        #expect(concurrency.wasBusy(running: 16, now: .zero) == true)
        #expect(concurrency.limit == 8)
        #expect(concurrency.wasBusy(running: 16, now: .milliseconds(900)) == false)
        #expect(concurrency.limit == 8)
        #expect(concurrency.wasBusy(running: 8, now: .seconds(1)) == true)
        #expect(concurrency.limit == 4)
        for _ in 0..<3 { #expect(concurrency.succeeded() == false) }
        #expect(concurrency.succeeded() == true)
        #expect(concurrency.limit == 5)
    }

    @Test func isCutBelowWhatIsUsed() {
        var concurrency = AdaptiveConcurrency(maximum: 64)
        #expect(concurrency.wasBusy(running: 6, now: .zero) == true)
        #expect(concurrency.limit == 3)
        #expect(concurrency.wasBusy(running: 1, now: .seconds(2)) == true)
        #expect(concurrency.limit == 1)
        #expect(concurrency.wasBusy(running: 1, now: .seconds(4)) == false)
        #expect(concurrency.limit == 1)
    }

    @Test func staysWithinItsBoundsWhateverComes() {
        var random = SeededGenerator(seed: .random(in: 0 ... .max))
        var concurrency = AdaptiveConcurrency(maximum: 10)
        var maximum = 10
        var now = Duration.zero
        for _ in 0..<5000 {
            now += .milliseconds(Int.random(in: 0...300, using: &random))
            switch Int.random(in: 0..<20, using: &random) {
            case 0:
                maximum = Int.random(in: 1...40, using: &random)
                concurrency.bound(by: maximum)
            case 1: concurrency.startSlowly()
            case 2: _ = concurrency.wasBusy(running: Int.random(in: 0...40, using: &random), now: now)
            default: _ = concurrency.succeeded()
            }
            #expect(1...maximum ~= concurrency.limit, "seed \(random.seed)")
        }
        for _ in 0..<2000 { _ = concurrency.succeeded() }
        #expect(concurrency.limit == maximum, "seed \(random.seed)")
    }
}
