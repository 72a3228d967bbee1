//! `wflo sandbox …`.

mod doctor;
mod exec;
pub(crate) mod images;
mod profile;
mod serve;

pub(crate) use self::{
    doctor::run as doctor, doctor::summary, doctor::this_program, exec::run as exec, profile::run as profile,
    serve::run as serve,
};
