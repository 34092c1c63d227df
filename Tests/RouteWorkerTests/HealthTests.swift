// When a worker is live and ready: samples in, problems out.

import Testing

@testable import AMQP
@testable import RouteWorker

@Suite struct HealthTests {
    private static let start = ContinuousClock.now

    private static func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }

    /// A sample of a worker that is well, but for what is said.
    private static func sample(
        _ seconds: Int, subscribed: Bool = true, heard: Int? = nil, running: Int = 0, paused: Int = 0,
        outstanding: Int = 0, steps: UInt64 = 0, draining: Bool = false
    ) -> WorkerSample {
        var pipeline = PipelineSnapshot()
        pipeline.running = running
        pipeline.paused = paused
        pipeline.steps = steps
        pipeline.isDraining = draining
        var consumer = ConsumerStatus()
        consumer.isConnected = subscribed
        consumer.lastHeard = at(heard ?? seconds)
        if !subscribed { consumer.lastError = AMQPError.closed }
        consumer.queues = [
            ConsumerStatus.Queue(queue: "q", isSubscribed: subscribed, outstanding: outstanding, lastError: nil)
        ]
        return WorkerSample(takenAt: at(seconds), pipeline: pipeline, consumer: consumer)
    }

    private static func liveness(heartbeat: Duration = .seconds(10)) -> Liveness {
        Liveness(
            Liveness.Limits(limit: .seconds(60), heartbeat: heartbeat, longestStep: .seconds(90)), start: start)
    }

    private static func problems(_ samples: [WorkerSample], at seconds: Int, heartbeat: Duration = .seconds(10))
        -> [String]
    {
        var liveness = liveness(heartbeat: heartbeat)
        for sample in samples { liveness.saw(sample) }
        return liveness.problems(now: at(seconds))
    }

    // MARK: Live

    @Test("An event loop that gives no samples is not live for ever")
    func noSamples() {
        #expect(Self.problems([Self.sample(10)], at: 70) == [])
        #expect(Self.problems([Self.sample(10)], at: 71).first == "the event loop has not turned for 61 s")
    }

    @Test("A worker that connects in vain is not live for ever, from its start and later")
    func inVain() {
        let inVain = (1...70).map { Self.sample($0, subscribed: false) }
        #expect(Self.problems(Array(inVain.prefix(60)), at: 60) == [])
        #expect(Self.problems(inVain, at: 70).count == 1)
        #expect(Self.problems(inVain, at: 70)[0].hasPrefix("not consuming for 70 s: "))
        let after = [Self.sample(100)] + (101...150).map { Self.sample($0, subscribed: false) }
        #expect(Self.problems(after, at: 150) == [])
        let back = after + [Self.sample(165)]
        #expect(Self.problems(back, at: 166) == [])
    }

    @Test("A connection on which the broker says nothing is not live, unless heartbeats are off")
    func silence() {
        let silent = (1...70).map { Self.sample($0, heard: 1) }
        #expect(Self.problems(silent, at: 62) == ["the broker has said nothing for 61 s"])
        #expect(Self.problems(silent, at: 70, heartbeat: .zero) == [])
        // Heartbeats that are far apart have their time.
        #expect(Self.problems(silent, at: 70, heartbeat: .seconds(30)) == [])
    }

    @Test("Commands in work that make no step are not live; those that wait are")
    func stall() {
        let stuck = (1...110).map { Self.sample($0, running: 2, outstanding: 3, steps: 7) }
        #expect(Self.problems(stuck, at: 101) == [])
        #expect(
            Self.problems(stuck, at: 110) == ["no command has made a step for 109 s, though 3 are unacknowledged"])
        let slow = (1...110).map { Self.sample($0, running: 2, outstanding: 3, steps: UInt64($0 / 50)) }
        #expect(Self.problems(slow, at: 110) == [])
        let waits = (1...110).map { Self.sample($0, paused: 3, outstanding: 3, steps: 7) }
        #expect(Self.problems(waits, at: 110) == [])
    }

    @Test("Deliveries that nobody works on and nobody acknowledges are not live")
    func lostAcks() {
        let lost = (1...110).map { Self.sample($0, outstanding: 1) }
        #expect(Self.problems(lost, at: 110).count == 1)
        let moving = (1...110).map { Self.sample($0, outstanding: 1 + $0 % 2) }
        #expect(Self.problems(moving, at: 110) == [])
    }

    @Test("A drain is live, though its connections close")
    func draining() {
        let drains = (1...200).map { Self.sample($0, subscribed: false, running: 1, draining: true) }
        #expect(Self.problems(drains, at: 200) == [])
        #expect(Self.problems(drains, at: 261).count == 1)
    }

    // MARK: Ready

    @Test("What is missing is named")
    func readiness() {
        let now = Self.at(5)
        #expect(Readiness.problems(nil, now: now) == ["starting"])
        var sample = Self.sample(5)
        sample.publishers = ["publisher": PublisherStatus()]
        sample.publishers["publisher"]?.isConnected = true
        sample.orgsWithTokens = 2
        sample.tokenProblems = ["acme": "no file"]
        #expect(Readiness.problems(sample, now: now) == [])
        #expect(Readiness.problems(sample, now: Self.at(16)) == ["the event loop has not turned for 11 s"])

        var bad = sample
        bad.consumer.queues[0].isSubscribed = false
        bad.publishers["publisher"]?.blockedBecause = "low on memory"
        bad.storeFailure = "the store is unavailable: gone"
        bad.tokenProblems["globex"] = "no file"
        #expect(
            Readiness.problems(bad, now: now) == [
                "broker: not consuming q", "broker: takes no messages (low on memory)",
                "store: the store is unavailable: gone",
                "tokens: none of 2 orgs has an access token (acme: no file)",
            ])
        bad.consumer.isConnected = false
        bad.publishers["publisher"]?.isConnected = false
        let problems = Readiness.problems(bad, now: now)
        #expect(problems[0] == "broker: not connected" && problems[1] == "broker: publisher not connected")
        bad.pipeline.isDraining = true
        #expect(Readiness.problems(bad, now: now) == ["draining"])
    }
}
