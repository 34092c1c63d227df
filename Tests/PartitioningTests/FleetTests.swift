// Whole fleets against a model of the broker: joins, leaves, crashes and lost connections in random interleavings end with
// an even share, with every partition served, and never with two owners.
import Partitioning
import RoutingContract
import Testing

/// Workers and the broker's locks. What the broker tells a worker arrives in order, but at any time.
private struct Fleet {
    enum Event {
        case observed(ShareOut.Observation)
        case held(Int)
        case refused(Int)
        case lost(Int)
        case drained(Int)
    }

    struct Worker {
        var share: ShareOut
        var inbox: [Event] = []
        var served: Set<Int> = []
        var want = ShareOut.Want.nothing
    }

    let partitions: Int
    var workers: [Int: Worker] = [:]
    var owners: [Int: Int] = [:]
    /// Partitions of which the broker counts a consumer that is gone.
    var ghosts: Set<Int> = []
    /// Whether workers can be counted; where not, as many are seen as there were.
    var counted: Int?
    var now: Duration = .zero
    var random: SeededGenerator
    var nextID = 0
    var actions = 0

    init(partitions: Int, seed: UInt64) {
        self.partitions = partitions
        random = SeededGenerator(seed: seed)
    }

    mutating func join() {
        workers[nextID] = Worker(share: ShareOut(partitions: partitions))
        nextID += 1
    }

    /// A crash, or the end of a drain: the connection takes its locks along.
    mutating func leave(_ id: Int) {
        workers[id] = nil
        owners = owners.filter { $0.value != id }
    }

    /// The connection is lost, and the worker hears of it some time.
    mutating func disconnect(_ id: Int) {
        for (partition, _) in owners.filter({ $0.value == id }).sorted(by: { $0.key < $1.key }) {
            owners[partition] = nil
            workers[id]!.served.remove(partition)
            workers[id]!.inbox.append(.lost(partition))
        }
    }

    mutating func look(_ id: Int) {
        let served = workers.values.reduce(into: Set<Int>()) { $0.formUnion($1.served) }
        workers[id]!.inbox.append(
            .observed(
                ShareOut.Observation(
                    workers: counted ?? workers.count,
                    wantingOne: counted == nil ? workers.values.count { $0.want != .nothing } : 0,
                    wantingShare: counted == nil ? workers.values.count { $0.want == .share } : 0,
                    unserved: Set(0..<partitions).subtracting(served).subtracting(ghosts), isCounted: counted == nil)))
    }

    /// Lets one worker take what came first.
    mutating func step(_ id: Int) {
        guard let event = workers[id]?.inbox.first else { return }
        workers[id]!.inbox.removeFirst()
        let next: [ShareOut.Action] =
            switch event {
            case .observed(let seen): workers[id]!.share.observed(seen, now: now, using: &random)
            case .held(let partition): workers[id]!.share.lockHeld(partition)
            case .refused(let partition): workers[id]!.share.lockRefused(partition)
            case .lost(let partition): workers[id]!.share.lockLost(partition, using: &random)
            case .drained(let partition): workers[id]!.share.drained(partition)
            }
        for action in next {
            // To ask for what somebody has moves nothing.
            if case .acquire(let partition) = action, owners[partition] != nil { actions -= 1 }
            actions += 1
            perform(action, id)
        }
    }

    private mutating func perform(_ action: ShareOut.Action, _ id: Int) {
        switch action {
        case .acquire(let partition):
            if owners[partition] == nil {
                owners[partition] = id
                workers[id]!.inbox.append(.held(partition))
            } else {
                workers[id]!.inbox.append(.refused(partition))
            }
        case .serve(let partition):
            // As the consumer does: nothing is consumed without the lock that it was asked with.
            guard owners[partition] == id else { return }
            for (other, worker) in workers where other != id { #expect(!worker.served.contains(partition)) }
            workers[id]!.served.insert(partition)
        case .drain(let partition): workers[id]!.inbox.append(.drained(partition))
        case .leave(let partition):
            guard owners[partition] == id else { return }
            workers[id]!.served.remove(partition)
            owners[partition] = nil
            workers[id]!.inbox.append(.lost(partition))
        case .wanting(let wants): workers[id]!.want = wants
        }
    }

    /// A second passes: everybody looks, and everything that is under way arrives, in any order.
    mutating func second() {
        now += .seconds(1)
        for id in workers.keys.sorted().shuffled(using: &random) {
            look(id)
            if Bool.random(using: &random) { settle() }
        }
        settle()
    }

    mutating func settle() {
        while true {
            let busy = workers.filter { !$0.value.inbox.isEmpty }.keys.sorted()
            guard let id = busy.randomElement(using: &random) else { return }
            step(id)
        }
    }

    var counts: [Int] { workers.values.map(\.served.count) }
    var isEven: Bool {
        counts.reduce(0, +) == partitions && (counts.max() ?? 0) - (counts.min() ?? 0) <= 1
    }
}

@Suite struct FleetTests {
    @Test func everyInterleavingEndsWithAnEvenShare() throws {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var choice = SeededGenerator(seed: seed)
        var longest = 0
        for round in 0..<300 {
            var fleet = Fleet(partitions: Int.random(in: 1...16, using: &choice), seed: choice.next())
            fleet.join()
            for _ in 0..<60 {
                let id = fleet.workers.keys.sorted().randomElement(using: &choice)
                switch Int.random(in: 0..<12, using: &choice) {
                case 0: if fleet.workers.count < 9 { fleet.join() }
                case 1: if let id, Bool.random(using: &choice) { fleet.leave(id) }
                case 2: if let id { fleet.disconnect(id) }
                case 3: fleet.now += .seconds(Int.random(in: 0...6, using: &choice))
                case 4, 5: if let id { fleet.look(id) }
                default: if let id { fleet.step(id) }
                }
            }
            if fleet.workers.isEmpty { fleet.join() }
            var seconds = 0
            while !fleet.isEven && seconds < 120 {
                fleet.second()
                seconds += 1
            }
            longest = max(longest, seconds)
            let (isEven, counts) = (fleet.isEven, fleet.counts)
            #expect(isEven, "round \(round): \(fleet.partitions) partitions, shares \(counts)")
            // And there it stays: nothing is handed to and fro.
            for _ in 0..<15 { fleet.second() }
            let staysEven = fleet.isEven
            #expect(staysEven)
            let before = fleet.actions
            for _ in 0..<15 { fleet.second() }
            let moves = fleet.actions - before
            #expect(moves == 0, "round \(round): still moving, with shares \(fleet.counts)")
        }
        print("even after \(longest) seconds at most")
    }

    /// A worker that is counted, but takes nothing (hung, or just gone), leaves no partition without a worker.
    @Test func aWorkerThatTakesNothingLeavesNothingUnserved() {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var fleet = Fleet(partitions: 8, seed: seed)
        for _ in 0..<4 { fleet.join() }
        for _ in 0..<40 {
            fleet.now += .seconds(1)
            for id in 0..<2 { fleet.look(id) }
            fleet.settle()
        }
        #expect(Set(fleet.owners.keys) == Set(0..<8))
        let before = fleet.owners
        for _ in 0..<20 {
            fleet.now += .seconds(1)
            for id in 0..<2 { fleet.look(id) }
            fleet.settle()
        }
        #expect(fleet.owners == before)
    }

    /// A node of the broker dies, and with it the connection of a worker, or the worker: its partitions seem to be served as
    /// before. Sometimes nobody can be counted any more either.
    @Test(arguments: [false, true], [false, true])
    func whatADeadNodeSeemsToServeIsTaken(workerDies: Bool, isCounted: Bool) {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var choice = SeededGenerator(seed: seed)
        for round in 0..<50 {
            var fleet = Fleet(partitions: Int.random(in: 1...16, using: &choice), seed: choice.next())
            for _ in 0..<Int.random(in: 2...5, using: &choice) { fleet.join() }
            // Long enough for all doubts of the start to be over.
            for _ in 0..<200 { fleet.second() }
            if !isCounted { fleet.counted = fleet.workers.count }
            fleet.ghosts = Set(fleet.owners.filter { $0.value == 0 }.keys)
            if workerDies { fleet.leave(0) } else { fleet.disconnect(0) }
            for _ in 0..<100 { fleet.second() }
            let served = fleet.workers.values.reduce(into: Set<Int>()) { $0.formUnion($1.served) }
            #expect(served == Set(0..<fleet.partitions), "round \(round)")
        }
    }
}
