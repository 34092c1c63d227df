// A commands queue that is spread over partitions, as the settings have it.

import RoutingContract
import Testing

@testable import WorkerSettings

@Suite struct PartitionSettingsTests {
    private let text =
        minimal + """
            commands: {partitions: 3}
            queues: {c: {prefetch: 7, defaultOrg: acme}, t: {}}

            """

    @Test func partitionsStandInPlaceOfTheFirstQueue() throws {
        let settings = try load(text)
        #expect(settings.consumedQueues.map(\.name) == ["c.0", "c.1", "c.2", "t", "routing.commands.replay"])
        #expect(settings.consumedQueues.prefix(3).allSatisfy { $0.prefetch == 7 && $0.defaultOrg == "acme" })
        let defaults = settings.consumedQueues.map { settings.decodingDefaults(of: $0) }
        #expect(defaults.map(\.routingKeyIsConversation) == [true, true, true, false, false])
        #expect(
            settings.partitionedQueue
                == PartitionedQueue(name: "c", count: 3, exchange: "routing.commands.partitioned"))
    }

    @Test func withoutPartitionsThereIsNoSuchQueue() throws {
        let settings = try load(minimal)
        #expect(settings.partitionedQueue == nil)
        #expect(settings.consumedQueues.map(\.name) == ["routing.commands", "routing.commands.replay"])
    }

    @Test func answersNeverGoToAQueueOfTheWorkersOwn() throws {
        let reserved = try load(text).decodingRules.reservedQueues
        for name in ["c", "c.0", "c.2", "c.1.owner", "c.workers", "c.wanting.one", "c.wanting.share", "t"] {
            #expect(reserved.contains(name), "\(name)")
        }
        #expect(!reserved.contains("c.3"))
        for name in ["c.1", "c.1.owner", "c.workers"] {
            let found = problems(text + "answers: {allowReplyTo: [\(name)]}\n")
            #expect(found.count == 1 && found[0].contains("to which answers may never go"), "\(found)")
        }
    }

    @Test(arguments: [
        "queues: {c: {}, c.1: {}}", "queues: {c: {}, c.workers: {}}", "commands: {partitions: 3, replayQueue: c.0}",
        "answers: {queue: c.2.owner}", "answers: {deadLetterQueue: c.wanting.one}",
        "deadLetters: {auditQueue: c.workers}",
        "commands: {partitions: 3, replayQueue: c}",
    ])
    func namesThatPartitionsNeedAreTheirs(other: String) {
        var file = minimal
        if !other.hasPrefix("commands") { file += "commands: {partitions: 3}\n" }
        if !other.hasPrefix("queues") { file += "queues: {c: {}}\n" }
        #expect(problems(file) == [])
        let found = problems(file + other + "\n")
        #expect(found.contains { $0.contains("that commands.partitions") }, "\(found)")
    }

    @Test(arguments: ["deadLetters: {auditQueue: c}", "controls: {queue: c}"])
    func theQueueInWhosePlaceTheyAreIsTakenToo(other: String) {
        let found = problems(text + other + "\n")
        #expect(found.count == 1 && found[0].contains("is also the queue of queues.c,"), "\(found)")
    }

    @Test func theLongestNameLeavesRoomForThoseThatAreMadeOfIt() throws {
        let name = String(repeating: "q", count: 228)
        let file = minimal + "commands: {partitions: 128}\nqueues: {\(name): {}}\n"
        let settings = try load(file)
        let sharing = try #require(settings.partitionedQueue)
        let parking = settings.consumedQueues.map { ParkingQueue.name(of: $0.name, org: settings.orgs[0].id) }
        #expect((sharing.locks + sharing.countingQueues + parking).map(\.utf8.count).max() == 255)
        #expect(problems(file.replacing(name, with: name + "q")).count == 1)
    }

    @Test func theirNumberIsTakenOverWithARestartAlone() throws {
        let old = try load(text)
        let (settings, change) = old.reloading(
            try load(text.replacing("partitions: 3", with: "partitions: 4, partitionExchange: x")))
        #expect(settings == old)
        #expect(change.needRestart == ["commands.partitions", "commands.partitionExchange"])
    }
}
