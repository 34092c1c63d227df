// The keys of log metadata stand in their own room; here is their name.

public import WorkerLog

public typealias LogKey = WorkerLog.LogKey
